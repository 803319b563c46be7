/** Asked of a node's shards and of its edge: what one app uses there. */
export interface ViewUsage {
  readonly kind: "ViewUsage";
  /** Name, encoded. */
  readonly appToken: string;
}
