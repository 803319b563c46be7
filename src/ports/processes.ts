/** Processes of this machine, told apart from later ones of the same number. */
export interface ProcessIdentity {
  readonly pid: number;
  /** When it started, as the system says it, the boot included; equal only for one process. */
  readonly processStart: string;
}

export interface Processes {
  readonly own: ProcessIdentity;
  /** True only for a process of this machine's present boot that is no more. */
  isGone(identity: ProcessIdentity): Promise<boolean>;
}
