/**
 * The copy of MySQL's inboxes in Redis, as Lua. All keys of a shard carry its number as
 * their hash tag, so a shard is in one slot of a Cluster, and each script's share of a
 * shard touches no other.
 *
 *   <prefix>:{7}:v        "epoch:version:token": what the copy stands at
 *   <prefix>:{7}:s:<key>  hash: t token · r record · d dropped seq · k<id> keys · n entries · b bytes
 *   <prefix>:{7}:e:<key>  sorted by seq: packed entries
 *
 * Every script says at which epoch and version the copy must stand. Where it does not,
 * the answer is `void` and nothing is written. A session counts only under the token
 * that stands in v: a new token makes all older ones void at once. Sessions expire when
 * nobody read or wrote them for a while; v stays, it is one short string a shard.
 *
 * A packed entry: 8 bytes seq, 2 bytes length of the head, head, record.
 */
export const status = { void: 0, miss: 1, hit: 2, fenced: 3 } as const;

const standsAt = `
local function standing(key, expected)
  local v = redis.pcall('GET', key)
  if type(v) ~= 'string' or v:sub(1, #expected + 1) ~= expected .. ':' then return nil end
  return v:sub(#expected + 2)
end
local function head(entry)
  return 10 + entry:byte(9) * 256 + entry:byte(10)
end
local function isWhole(s, e, token)
  local known = redis.call('HMGET', s, 't', 'n')
  return known[1] == token and redis.call('ZCARD', e) == tonumber(known[2])
end
`;

/** KEYS v · ARGV expected or '' · next "epoch:version" · new token */
export const takeOverScript = `
local v = redis.pcall('GET', KEYS[1])
if type(v) == 'string' then
  local epoch, version, token = v:match('^(%d+):(%d+):(.+)$')
  if epoch and tonumber(epoch) > tonumber(ARGV[2]:match('^%d+')) then return ${status.fenced} end
  if epoch and epoch .. ':' .. version == ARGV[1] then
    redis.call('SET', KEYS[1], ARGV[2] .. ':' .. token)
    return ${status.hit}
  end
end
redis.call('SET', KEYS[1], ARGV[2] .. ':' .. ARGV[3])
return ${status.miss}
`;

/** KEYS v s e · ARGV expected · ttlMs. Answers the hash, then head and record length of each entry. */
export const loadScript = `${standsAt}
local token = standing(KEYS[1], ARGV[1])
if not token then return {${status.void}} end
if not isWhole(KEYS[2], KEYS[3], token) then return {${status.miss}} end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('PEXPIRE', KEYS[3], ARGV[2])
local entries = {}
for _, entry in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  local length = head(entry)
  entries[#entries + 1] = entry:sub(1, length)
  entries[#entries + 1] = #entry - length
end
return {${status.hit}, redis.call('HGETALL', KEYS[2]), entries}
`;

/** KEYS v s e · ARGV expected · afterSeq · countMax · bytesMax */
export const readScript = `${standsAt}
local token = standing(KEYS[1], ARGV[1])
if not token then return {${status.void}} end
if not isWhole(KEYS[2], KEYS[3], token) then return {${status.miss}} end
local countMax, bytesMax, bytes, entries = tonumber(ARGV[3]), tonumber(ARGV[4]), 0, {}
while #entries < countMax do
  local page = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. ARGV[2], '+inf',
    'LIMIT', #entries, math.min(64, countMax - #entries))
  if #page == 0 then break end
  for _, entry in ipairs(page) do
    bytes = bytes + #entry - head(entry)
    if #entries > 0 and bytes > bytesMax then return {${status.hit}, entries} end
    entries[#entries + 1] = entry
  end
end
return {${status.hit}, entries}
`;

/** KEYS v s e · ARGV expected · ttlMs · count of the hash's fields, those · seq, entry, … */
export const fillScript = `${standsAt}
local token = standing(KEYS[1], ARGV[1])
if not token then return ${status.void} end
redis.call('DEL', KEYS[2], KEYS[3])
local at, bytes, count = 4, 0, 0
redis.call('HSET', KEYS[2], 't', token)
for _ = 1, tonumber(ARGV[3]) do
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
  at = at + 2
end
while at < #ARGV do
  redis.call('ZADD', KEYS[3], ARGV[at], ARGV[at + 1])
  bytes = bytes + #ARGV[at + 1]
  count = count + 1
  at = at + 2
end
redis.call('HSET', KEYS[2], 'n', count, 'b', bytes)
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return ${status.hit}
`;

/**
 * KEYS for each shard: v, then s and e of its sessions.
 * ARGV ttlMs · bytes that a session may have · for each shard: expected · next · count of
 * sessions, and for each: 1 where it is removed, which is read from MySQL again · dropped seqs · seqs with entries · forgotten ids · ids with keys,
 * all counted · record or '' · highest dropped seq.
 * Answers a status for each shard. What is not in the copy is passed over.
 */
export const advanceScript = `${standsAt}
local at, key, answers = 3, 1, {}
local function take()
  at = at + 1
  return ARGV[at - 1]
end
local function remove(e, seq)
  local bytes, count = 0, 0
  for _, entry in ipairs(redis.call('ZRANGEBYSCORE', e, seq, seq)) do
    bytes = bytes + #entry
    count = count + 1
  end
  if count > 0 then redis.call('ZREMRANGEBYSCORE', e, seq, seq) end
  return bytes, count
end
local function writeSession(s, e, isHeld)
  local bytes, count = 0, 0
  if take() == '1' then
    redis.call('DEL', s, e)
    isHeld = false
  end
  for _ = 1, tonumber(take()) do
    local seq = take()
    if isHeld then
      local goneBytes, gone = remove(e, seq)
      bytes, count = bytes - goneBytes, count - gone
    end
  end
  for _ = 1, tonumber(take()) do
    local seq, entry = take(), take()
    if isHeld then
      local goneBytes, gone = remove(e, seq)
      redis.call('ZADD', e, seq, entry)
      bytes, count = bytes - goneBytes + #entry, count - gone + 1
    end
  end
  for _ = 1, tonumber(take()) do
    local id = take()
    if isHeld then redis.call('HDEL', s, 'k' .. id) end
  end
  for _ = 1, tonumber(take()) do
    local id, packed = take(), take()
    if isHeld then redis.call('HSET', s, 'k' .. id, packed) end
  end
  local record, dropped = take(), tonumber(take())
  if not isHeld then return end
  if record ~= '' then redis.call('HSET', s, 'r', record) end
  if dropped > tonumber(redis.call('HGET', s, 'd') or '0') then
    redis.call('HSET', s, 'd', string.format('%.0f', dropped))
  end
  redis.call('HINCRBY', s, 'n', count)
  if redis.call('HINCRBY', s, 'b', bytes) > tonumber(ARGV[2]) then
    redis.call('DEL', s, e)
    return
  end
  redis.call('PEXPIRE', s, ARGV[1])
  redis.call('PEXPIRE', e, ARGV[1])
end
while key <= #KEYS do
  local v, expected, following = KEYS[key], take(), take()
  local token, count = standing(v, expected), tonumber(take())
  for index = 1, count do
    local s, e = KEYS[key + 2 * index - 1], KEYS[key + 2 * index]
    writeSession(s, e, token and isWhole(s, e, token))
  end
  if token then redis.call('SET', v, following .. ':' .. token) end
  answers[#answers + 1] = token and ${status.hit} or ${status.void}
  key = key + 1 + 2 * count
end
return answers
`;
