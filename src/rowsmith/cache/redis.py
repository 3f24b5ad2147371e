"""The cache in Redis or Valkey, shared by processes.

Each row has a state there, a random word that every change of the row replaces; it is part of the leave to fill an
entry, so that whatever is read before a change and put there after it is never taken. While changes are being committed
the state is the marks of them, each with the time at which it ends by itself, and nothing is filled before the last of
them is done. The entry of a row as it is without a scope is deleted by each change. Those for scopes, of which nobody
knows how many there are, say of which state they are, and are none if that is another. All rows together have a state
too, for changes of nobody knows which, which each entry says; and each says under which key it was put there, so that
the answer to somebody else's question is none either.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from contextvars import Context
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from pydantic import ConfigDict, PydanticUserError, TypeAdapter

from rowsmith.cache.source import HOLD, LEASE, NO_SCOPE, Lease, TData, TId, Under, check_count
from rowsmith.cache.timed import TimedCache
from rowsmith.deadline import check_seconds, remaining
from rowsmith.errors import MappingError
from rowsmith.redis_client import Answers, check_client, check_prefix, digest, milliseconds, text_of_id

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")

logger = logging.getLogger("rowsmith.cache")

CHUNK: Final = 1000
"""How many rows a command is about at most: Redis does nothing else meanwhile."""

FAILURES: Final = 3
"""After how many failures in a row the cache is left alone for some time."""

PAUSE: Final = 1.0
"""For how many seconds."""


class RedisCacheSource(TimedCache[TData], Generic[TId, TData]):
    """Keeps data in Redis or Valkey, as JSON.

    A cache that does not answer in time has nothing, and after some failures it is left alone for a second at a time.
    What could not be invalidated is invalidated before anything is read from it again, by this process; another one may
    meanwhile be given entries that are old, until their time is over.

    Args:
        client: a client of ``redis.asyncio``, or one that is like it; its owner closes it.
        data: the class of the data: what pydantic makes JSON of, and the same again of that.
        prefix: what keys begin with; one for each kind of data, and for each database.
        ttl: seconds for which an entry is kept at most; each by chance up to a tenth shorter.
        version: of the data; entries of another version, or of a class with other fields, are none.
        timeout: seconds within which the cache has to answer.
        negative_ttl: seconds for which it is remembered that a row is absent; None: not at all.

    Raises:
        MappingError: ``data`` is no class that JSON can be made of, ``client`` is none of asyncio, ``prefix`` no text.
        InvalidValue: a number is none of its kind.
    """

    def __init__(
        self,
        client: Redis,
        data: type[TData],
        *,
        prefix: str,
        ttl: float = 60.0,
        version: int = 1,
        timeout: float = 0.25,
        negative_ttl: float | None = None,
    ) -> None:
        super().__init__(data, ttl, negative_ttl)
        check_client(client, type(self).__name__, "GroupData, prefix='group'")
        check_prefix(prefix, type(self).__name__, "group")
        self._answers = Answers(check_seconds(timeout, "timeout"))
        self._json = _adapter(data)
        # In braces, by which a cluster has in one place whatever one question is about. No key has the version: who
        # writes with another one, as while a new one is rolled out, ends the entries of all of them.
        self._base = f"{prefix}:{{{digest(prefix)[:8]}}}"
        self._version = f"{check_count(version, 'version')}-{_fields_of(self._json)}".encode()
        self._all = f"{self._base}:s".encode()
        self._me = secrets.token_hex(8)
        self._client: Any = client
        scripts: Any = map(self._client.register_script, _SCRIPTS)
        self._lease, self._set, self._hold, self._release = scripts
        self._failures, self._closed_until = 0, 0.0
        self._owed: dict[TId | None, object] = {}
        self._givers = set[asyncio.Task[Any]]()

    async def get_many(self, ids: Collection[TId], *, under: Under = NO_SCOPE) -> dict[TId, TData | None]:
        """Give the entries that are there; None of a row that is known to be absent."""
        found: dict[TId, TData | None] = {}
        if not self._owed or await self._is_settled():
            text = _text_of(under)
            for chunk in _chunks(ids):
                keys = [self._entry("e", id, text) for id in chunk]
                if text:
                    keys += map(self._state, chunk)
                told = _words(await self._ask(self._client.execute_command, "MGET", self._all, *keys))
                if len(told) == 1 + len(keys) and told[0] is not None:
                    broken = self._take(chunk, keys, told, found)
                    if broken:
                        await self._ask(self._client.delete, *broken)
        self._count(len(found), len(ids))
        return found

    async def lease(self, ids: Collection[TId], *, under: Under = NO_SCOPE) -> dict[TId, Lease]:
        """Give the leave to fill entries."""
        leases: dict[TId, Lease] = {}
        if self._owed and not await self._is_settled():
            return leases
        for chunk in _chunks(ids):
            asked, word, text = [self._all], secrets.token_hex(8), _text_of(under)
            for id in chunk:
                asked += self._state(id), self._entry("l", id, text), self._entry("e", id, text)
            given = [word, milliseconds(2 * self._ttl + HOLD), self._me, milliseconds(LEASE), self._version]
            told = list[Any]()
            try:
                told = _words(await self._ask(self._lease, asked, given))
            finally:
                is_told = bool(told) and told[0] == word.encode()  # else it is the answer to something else
                if not is_told:
                    self._let_go(asked)
            states = zip(chunk, told[1:] if is_told else (), strict=False)
            leases |= {id: Lease(state[1:], state[:1] == b"1") for id, state in states if state}
        return leases

    def _let_go(self, asked: list[Any]) -> None:
        """Have leases given back whose answer did not come: they may be given, and others would wait for them."""
        loop = asyncio.get_running_loop()
        if self._closed_until > loop.time():  # nothing was asked for
            return
        nothing = [self._me, *chain.from_iterable((b"", b"", 0) for _ in range(len(asked) // 3))]
        task = loop.create_task(self._give_back(asked, nothing), context=Context())
        self._givers.add(task)
        task.add_done_callback(self._givers.discard)

    async def _give_back(self, keys: list[Any], given: list[Any]) -> None:
        """Tell what nobody waits for, and whose failure is none of a caller's."""
        with suppress(Exception), self._answers.limit():
            await self._set(keys, given)

    async def set_many(
        self, entries: Mapping[TId, TData | None], leases: Mapping[TId, Lease], *, under: Under = NO_SCOPE
    ) -> None:
        """Take entries whose lease is still good."""
        text = _text_of(under)
        for chunk in _chunks(leases):
            keys, given = [self._all], list[Any]([self._me])
            for id in chunk:
                key, token = self._entry("e", id, text), leases[id].token
                keys += [self._state(id), self._entry("l", id, text), key]
                state = token if text else token[: token.index(b".") + 1]  # the part that is all rows' own
                given += [token, *self._written(self._head(state, key), entries, id)]
            await self._ask(self._set, keys, given)

    async def hold(self, ids: Collection[TId] | None) -> object:
        """Drop entries and take none until they are released."""
        mark = f"!{secrets.token_hex(8)}"
        await self._tell(self._hold, ids, [mark, milliseconds(HOLD)])
        return mark

    async def release(self, held: object, ids: Collection[TId] | None) -> None:
        """Take entries again."""
        await self._tell(self._release, ids, [held])

    async def invalidate(self, ids: Collection[TId] | None = None) -> None:
        """Drop entries; what was read before is not taken any more."""
        await self._tell(self._release, ids, [""])

    def _take(self, ids: Collection[TId], keys: list[bytes], told: list[Any], found: dict[TId, Any]) -> list[bytes]:
        """Take the entries that were told of rows, and their states where there are; gives the keys of broken ones."""
        broken, place, count = list[bytes](), 0, len(ids)
        is_scoped = len(keys) > count
        for id in ids:
            key, entry, state = keys[place], told[place + 1], told[place + 1 + count] if is_scoped else b""
            place += 1
            if entry is None or state is None:
                continue
            head = self._head(told[0] + b"." + state, key)
            if entry.startswith(head):
                try:
                    text = entry[len(head) :]
                    found[id] = None if text == _ABSENT else self._json.validate_json(text)
                except Exception:  # noqa: BLE001 - no data; a class's own code may raise anything
                    broken.append(key)
        return broken

    def _head(self, state: bytes, key: bytes) -> bytes:
        """Give what an entry begins with: the state and the version that it is of, and its own key."""
        return state + b"\n" + self._version + b"\n" + key + b"\n"

    def _written(self, head: bytes, entries: Mapping[TId, TData | None], id: TId) -> tuple[bytes, int]:
        """Give an entry and its time; nothing where there is none, or JSON would make something else of it."""
        data = entries.get(id)
        seconds = self._seconds_of(data)
        if id not in entries or seconds is None:
            return b"", 0
        text = _ABSENT if data is None else self._faithful(data)
        if text is None:
            return b"", 0
        return head + text, milliseconds(seconds)

    def _faithful(self, data: TData) -> bytes | None:
        """Give data as JSON that makes the same of it again, whatever its class takes for equal; None if none does."""
        try:
            text, fields = self._json.dump_json(data), self._json.dump_python(data)
            again = self._json.validate_json(text)
            if again == data and self._json.dump_python(again) == fields:
                return text
        except Exception:  # noqa: BLE001 - a class's own code may raise anything
            text = None
        self._refuse("is not the same after it was JSON")
        return None

    async def _tell(
        self, script: Callable[..., Awaitable[object]], ids: Collection[TId] | None, given: list[Any]
    ) -> None:
        """Tell of rows that are written; if the cache does not hear of it, that is owed to it."""
        rows: Collection[TId | None] = (None,) if ids is None else ids
        for chunk in _chunks(rows):
            if not await self._is_heard(script, self._changed(chunk), given):
                self.counts.owed += 1
                self._owed.update((id, object()) for id in chunk)
                logger.warning(
                    "the cache of %s does not hear of a change: other processes may be given old entries for a while",
                    self.data.__name__,
                )

    async def _is_heard(self, script: Callable[..., Awaitable[object]], keys: list[bytes], given: list[Any]) -> bool:
        """Tell of rows that are written, and say whether that was heard: the answer is the word that goes with it."""
        word = secrets.token_hex(8)
        told = await self._ask(script, keys, [*given, word])
        return isinstance(told, (bytes, str)) and _bytes(told) == word.encode()

    async def _is_settled(self) -> bool:
        """Have the cache hear of what is owed to it, before anything is believed of it again."""
        owed = dict(self._owed)
        for chunk in _chunks(owed):
            if not await self._is_heard(self._release, self._changed(chunk), [""]):
                return False
            for id in chunk:
                if self._owed.get(id) is owed[id]:  # else it is owed once more
                    del self._owed[id]
        return not self._owed

    async def _ask(self, command: Callable[..., Awaitable[object]], *given: Any) -> Any:
        """Have the cache do something, for a bounded time; None where it did not answer.

        After several calls without an answer it is left alone for a while.
        """
        if self._closed_until and self._closed_until > asyncio.get_running_loop().time():
            self.counts.failures += 1
            return None
        try:
            with self._answers.limit(remaining()):
                told = await command(*given)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the database is asked instead
            self.counts.failures += 1
            self._failures += 1
            if self._failures >= FAILURES:
                self._closed_until = asyncio.get_running_loop().time() + PAUSE
            if self._failures <= FAILURES:
                logger.warning("the cache of %s does not answer: %s", self.data.__name__, type(exc).__name__)
            return None
        self._failures, self._closed_until = 0, 0.0
        return told

    def _changed(self, rows: Iterable[TId | None]) -> list[bytes]:
        """Give the keys that a change of rows is about: of each its state and its entry without a scope."""
        keys = [key for id in rows if id is not None for key in (self._state(id), self._entry("e", id, ""))]
        return [*keys, self._all] if None in rows else keys

    def _state(self, id: TId | None) -> bytes:
        """Give the key of a row's state, or of that of all rows."""
        return self._all if id is None else f"{self._base}:s:{text_of_id(id)}".encode()

    def _entry(self, kind: str, id: TId, under: str) -> bytes:
        """Give the key of an entry ("e"), or of the lease of it ("l")."""
        return f"{self._base}:{kind}:{text_of_id(id)}:{under}".encode()


_ABSENT: Final = b"null"


def _words(told: Any) -> list[Any]:
    """Give an answer that is a list of words, some of which may be missing, as it was sent; nothing of any other."""
    kinds = set(map(type, told)) if told.__class__ is list else _ODD
    if kinds <= _WORDS:
        words: list[Any] = told
        return words
    return [None if each is None else _bytes(each) for each in told] if kinds <= _TEXTS else []


_WORDS: Final = frozenset({bytes, type(None)})
_TEXTS: Final = _WORDS | {str}
_ODD: Final = frozenset({object})


def _bytes(told: Any) -> bytes:
    """Give an answer as it was sent: the client may have made text of it."""
    return told.encode("utf-8", "surrogateescape") if isinstance(told, str) else bytes(told)


def _chunks(rows: Collection[T]) -> Iterable[Collection[T]]:
    """Give rows in parts that one command may be about."""
    if len(rows) <= CHUNK:
        return (rows,)
    listed = list(rows)
    return [listed[first : first + CHUNK] for first in range(0, len(listed), CHUNK)]


@lru_cache(maxsize=1000)
def _text_of(under: Under) -> str:
    """Give under what a row is seen, as text, each as its own."""
    if under == NO_SCOPE:
        return ""
    return digest("\n".join(map(_word, under)))


def _word(part: Any) -> str:
    """Give a part of a key as text: members of enumerations and classes by their full names."""
    if isinstance(part, enum.Enum):
        return f"{type(part).__module__}.{type(part).__qualname__}.{part.name}"
    return f"{part.__module__}.{part.__qualname__}" if isinstance(part, type) else repr(getattr(part, "__name__", part))


def _adapter(data: Any) -> TypeAdapter[Any]:
    """Give what makes JSON of a class's data, as exactly as pydantic can.

    Raises:
        MappingError: pydantic cannot.
    """
    exact = ConfigDict(ser_json_inf_nan="constants", ser_json_bytes="base64", val_json_bytes="base64")
    try:
        try:
            adapter = TypeAdapter(data, config=exact)
        except PydanticUserError:  # a model says itself how it is made JSON
            adapter = TypeAdapter(data)
        adapter.rebuild(raise_errors=True)  # where names were not there yet
        return adapter
    except Exception as exc:  # noqa: BLE001 - pydantic has several, and a class's own code may raise anything
        told = str(exc).partition("\n")[0]
    raise MappingError(f"pydantic makes no JSON of {data.__name__}: {told}")


def _fields_of(adapter: TypeAdapter[Any]) -> str:
    """Give a digest of what fields the data has, so that entries of an older class are not taken for its own."""
    try:
        told = repr(adapter.json_schema())
    except Exception:  # noqa: BLE001 - not everything that JSON is made of has a schema
        told = repr(cast("Any", adapter).core_schema.get("cls"))
    return digest(told)[:8]


_GET: Final = """
local function get(key)
  local told = redis.pcall('GET', key)
  if type(told) == 'table' then redis.call('DEL', key) return false end
  return told
end
local function begins(entry, state)
  return entry and string.sub(entry, 1, #state + 1) == state .. '\\n'
end
local function forget(entry) if entry then redis.call('DEL', entry) end end
local function marked(state) return state and string.sub(state, 1, 1) == '!' end
local function now()
  local told = redis.call('TIME')
  return told[1] * 1000 + math.floor(told[2] / 1000)
end
local function others(state, mark, time)
  local left, last = '', time
  for each, ending in string.gmatch(state or '', '(![^.]+)[.](%d+)') do
    if each ~= mark and tonumber(ending) > time then
      left, last = left .. each .. '.' .. ending, math.max(last, tonumber(ending))
    end
  end
  return left, last
end
"""

_LEASE: Final = """
local function state(key)
  local told = get(key)
  if told then redis.call('PEXPIRE', key, ARGV[2]) return told end
  redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
  return ARGV[1]
end
local told = {ARGV[1]}
if marked(get(KEYS[1])) then return told end
local all = state(KEYS[1])
for i = 2, #KEYS, 3 do
  if marked(get(KEYS[i])) then
    told[#told + 1] = ''
  else
    local both = all .. '.' .. state(KEYS[i])
    local entry = get(KEYS[i + 2])
    local filled = begins(entry, both .. '\\n' .. ARGV[5]) or begins(entry, all .. '.\\n' .. ARGV[5])
    local first = not filled and redis.call('SET', KEYS[i + 1], ARGV[3], 'NX', 'PX', ARGV[4])
    told[#told + 1] = (first and '1' or '0') .. both
  end
end
return told
"""

_SET: Final = """
local all = get(KEYS[1])
for i = 2, #KEYS, 3 do
  local place = i - 2
  local own = get(KEYS[i])
  if get(KEYS[i + 1]) == ARGV[1] then redis.call('DEL', KEYS[i + 1]) end
  if ARGV[place + 3] ~= '' and all and own and all .. '.' .. own == ARGV[place + 2] then
    redis.call('SET', KEYS[i + 2], ARGV[place + 3], 'PX', ARGV[place + 4])
  end
end
return 1
"""

_HOLD: Final = """
local time = now()
local ending = time + ARGV[2]
for i = 1, #KEYS, 2 do
  local left, last = others(get(KEYS[i]), ARGV[1], time)
  local marks = string.format('%s%s.%.0f', left, ARGV[1], ending)
  redis.call('SET', KEYS[i], marks, 'PX', math.max(last, ending) - time)
  forget(KEYS[i + 1])
end
return ARGV[3]
"""

_RELEASE: Final = """
local time = now()
for i = 1, #KEYS, 2 do
  local left, last = others(get(KEYS[i]), ARGV[1], time)
  if left == '' then redis.call('DEL', KEYS[i]) else redis.call('SET', KEYS[i], left, 'PX', last - time) end
  forget(KEYS[i + 1])
end
return ARGV[2]
"""

_SCRIPTS: Final = tuple(_GET + script for script in (_LEASE, _SET, _HOLD, _RELEASE))
