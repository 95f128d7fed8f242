#!/usr/bin/env python3
"""Audits an Onsale data folder: reads its journals by docs/journal-format.md and keeps books of its own.

    python3 tools/audit.py DATA [--json] [--archive DIR]

Nothing but Python 3's standard library is used, and no line of the engine's: whoever doubts `onsale
journal audit` can read this instead. It goes through every record once, some 10,000 a second, and
tells what does not add up. Exit codes: 0 nothing is wrong; 1 something is, or a journal can't be read;
2 the arguments make no sense.
"""
import argparse
import json
import os
import re
import struct
import sys
from array import array
from collections import Counter, deque

# ---------------------------------------------------------------- files: segments, batches, the log

BLOCK = 4096
ZEROS = bytes(BLOCK)
MAGIC = b"\xffONSALE\xfe"
HEADER = struct.Struct("<8sHHI16sHHIQIIQQQQQIIIH")
MARK, COPY, CLEAN = 1, 2, 8


class Damage(Exception):
    """The journal can't be read as it was written."""


def crc_table():
    one = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        one.append(n)
    # Two bytes a step: the value after a low byte, then after a high one.
    return array("I", (one[(one[n & 255] ^ n >> 8) & 255] ^ one[n & 255] >> 8 for n in range(65536))), one


CRC2, CRC1 = crc_table()


def crc32c(data):
    crc, even = 0xFFFFFFFF, len(data) & ~1
    table = CRC2
    for pair in struct.unpack_from(f"<{even // 2}H", data):
        crc = table[(crc ^ pair) & 0xFFFF] ^ crc >> 16
    for byte in data[even:]:
        crc = CRC1[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


class Batch:
    """A batch whose header counts."""

    def __init__(self, data, at):
        (_, self.version, self.header_bytes, crc, self.log, self.shard, self.flags, self.generation,
         self.segment, _, self.previous, self.offset, self.term, self.base, self.first, self.durable,
         self.count, self.payload_bytes, self.payload_crc, _) = HEADER.unpack_from(data, at)
        head = data[at:at + self.header_bytes]
        self.right = (128 <= self.header_bytes <= BLOCK and self.header_bytes % 8 == 0
                      and crc32c(head[:12] + bytes(4) + head[16:]) == crc)
        self.mark = self.flags & MARK != 0
        self.last = self.first + self.count - 1
        self.end = at + -(-(self.header_bytes + self.payload_bytes) // BLOCK) * BLOCK
        self.chain = self.previous if self.mark else crc32c(struct.pack(
            "<QIIII", self.first, self.previous, self.count, self.payload_bytes, self.payload_crc))

    def is_sound(self):
        return (self.first > self.durable and self.last < 1 << 64 and self.term <= self.segment
                and self.mark == (self.count == 0) and (self.mark or not self.flags & CLEAN) and 4 * self.count <= self.payload_bytes
                and (self.count > 0 or self.payload_bytes == 0))

    def take_payload(self, data, at):
        """Keeps the payload if all of it is there and right."""
        payload = data[at + self.header_bytes:at + self.header_bytes + self.payload_bytes]
        self.payload, self.whole = payload, False
        if self.end <= len(data) and crc32c(payload) == self.payload_crc:
            self.whole = self.records(check=True) is not None

    def records(self, check=False):
        found, at = [], 0
        for _ in range(self.count):
            if at + 4 > len(self.payload):
                return None
            length = int.from_bytes(self.payload[at:at + 4], "little")
            found.append(self.payload[at + 4:at + 4 + length])
            at += 4 + length
        return None if check and at != len(self.payload) else found


class Segment:
    """What one file holds; every block is looked at, also past damage."""

    def __init__(self, path, sequence, identity):
        self.name, self.sequence = os.path.basename(path), sequence
        self.term, self.durable, self.batches, self.used, self.damaged = None, 0, [], 0, False
        with open(path, "rb") as file:
            data = file.read()
        at = 0
        while at < len(data):
            at = self.block(data, at, identity)
        self.whole = sum(batch.whole for batch in self.batches)
        self.fine = not self.damaged and self.whole == len(self.batches)

    def block(self, data, at, identity):
        block = data[at:at + BLOCK]
        if block == ZEROS[:len(block)]:
            return at + BLOCK
        self.used = min(at + BLOCK, len(data))
        batch = Batch(data, at) if len(block) >= 128 and block.startswith(MAGIC) else None
        if batch is None or not batch.right:
            self.damaged = True
            return at + BLOCK
        if batch.version != 1 or batch.flags & ~(MARK | COPY | CLEAN):
            raise Damage(f"{self.name}, offset {at}: version {batch.version} with flags {batch.flags:#x} is unknown")
        if not batch.is_sound():
            self.damaged = True
            return at + BLOCK
        if identity.setdefault("is", (batch.log, batch.shard)) != (batch.log, batch.shard):
            raise Damage(f"{self.name}, offset {at}: of another log or shard")
        if (batch.segment, batch.offset) != (self.sequence, at):
            return at + BLOCK  # a remnant of an earlier use of the file
        self.used = min(batch.end, len(data))
        self.term = self.term or (batch.term, batch.base)
        if self.term != (batch.term, batch.base):
            raise Damage(f"{self.name}, offset {at}: a batch of another term than those before it")
        self.durable = max(self.durable, batch.durable)
        if not batch.mark:
            batch.take_payload(data, at)
            batch.name = self.name
            self.batches.append(batch)
        return batch.end


def paths_of(folder):
    names = os.listdir(folder) if folder and os.path.isdir(folder) else ()
    names = [name for name in names if re.fullmatch(r"(?!0+\.)\d{10,}\.seg", name)]
    return {int(name[:-4]): os.path.join(folder, name) for name in names}


def read_better(here, copy, sequence, identity):
    """The folder's file; the archive's where that one is damaged and this one has more batches that are whole."""
    segment = Segment(here or copy, sequence, identity)
    if here and copy and not segment.fine:
        try:
            other = Segment(copy, sequence, identity)
        except Damage:
            return segment
        if other.whole > segment.whole:
            return other
    return segment


def read_log(folder, archive):
    """The batches of a shard's log, in order."""
    here, copies = paths_of(folder), paths_of(archive)
    if copies and max(copies) > max(here, default=0):
        raise Damage(f"{max(here, default=max(copies)) + 1:010}.seg is missing: what was written last is never in the archive only")
    missing = set(range(min(here, default=0), max(here, default=0))) - set(here)
    identity = {}
    segments = []
    for expected, sequence in enumerate(sorted(copies | here), 1):
        if sequence != expected or sequence in missing:
            raise Damage(f"{expected:010}.seg is missing, though a later one is there: is there an --archive?")
        segments.append(read_better(here.get(sequence), copies.get(sequence), sequence, identity))
    while segments and segments[-1].used == 0:
        segments.pop()
    highest = 0
    for segment in segments:
        if segment.term:
            if segment.term[0] < highest:
                raise Damage(f"{segment.name}: its term is below the one before it")
            highest = segment.term[0]
    if highest == 0 and any(segment.used > BLOCK for segment in segments):
        raise Damage("there are bytes, but not one batch can be read in the whole log")
    if "is" not in identity:
        raise Damage("the folder holds no log")
    # The log: whole, not void, of the highest term, chained from position 1 on.
    best, void_above, base_min, above = {}, 1 << 64, 1 << 64, None
    for segment in reversed(segments):
        if segment.term is None:
            continue
        term, base = segment.term
        if term != above:
            void_above = base_min
        base_min, above = min(base_min, base), term
        for batch in segment.batches:
            if batch.whole and batch.last <= void_above:
                kept = best.get(batch.first)
                if kept is None or kept.term < batch.term:
                    best[batch.first] = batch
    log, position, chain = [], 1, 0
    for batch in (best[first] for first in sorted(best)):
        if (batch.first, batch.previous) != (position, chain):
            break
        log.append(batch)
        position, chain = batch.last + 1, batch.chain
    proven = max((segment.durable for segment in segments), default=0)
    if position - 1 < proven:
        raise Damage(f"positions up to {proven} were durable, but none from {position} on can be trusted")
    return identity["is"], log


# ---------------------------------------------------------------- records: protobuf

# Per message its fields: number, name, form. After the form: ! must be there, ? may be absent (None),
# * any number of times; else absent means zero or empty. "enum n": 1 to n.
SCHEMA = {name: {int(f.split()[0]): (f.split()[1], f.split(None, 2)[2]) for f in fields.split("; ")}
          for name, fields in {
    "Record": "1 at i64; 2 stamp_id b16?; 3 stamp_body b16?; 4 stamp_chosen bool?; 5 organizer id?; 6 event id?; "
              "16 ShardStarted ShardStarted?; 17 GenerationStarted GenerationStarted?; 18 GroupPlaced GroupPlaced?; "
              "24 EventDefined EventDefined?; 25 StateSet StateSet?; 32 HoldPlaced HoldPlaced?; "
              "33 HoldExtended HoldExtended?; 34 HoldReleased HoldEnded?; 35 HoldExpired HoldEnded?; "
              "40 OrderPlaced OrderPlaced?; 41 OrderCancelled OrderCancelled?; "
              "48 PaymentRecorded PaymentRecorded?; 49 PaymentRefunded PaymentRefunded?",
    "ShardStarted": "1 log b16!; 2 shard u32; 3 shards u32; 4 key b16!; 5 generation u32",
    "GenerationStarted": "1 generation u32",
    "GroupPlaced": "1 sale_group id!",
    "EventDefined": "1 version u32; 2 definition EventDefinition!; 3 stocks QuotaStock*",
    "QuotaStock": "1 allotment u32?; 2 epoch u32; 3 source enum2!",
    "EventDefinition": "1 name text; 2 currency currency!; 3 starts_at i64?; 4 sale Window?; 5 limits Limit*; "
                       "6 hold_seconds u32; 7 payment_seconds u32; 8 sale_group id!; 9 quotas Quota*; "
                       "10 ticket_types TicketType*",
    "Window": "1 opens_at i64?; 2 closes_at i64?",
    "Limit": "1 ticket_types id*; 2 per_order u32?; 3 per_customer u32?",
    "Quota": "1 id id!; 2 capacity u32?",
    "TicketType": "1 id id!; 2 name text; 3 price i64; 4 free_price bool; 5 quotas id*; 6 sale Window?",
    "StateSet": "1 version u32; 2 state enum3!",
    "HoldPlaced": "1 hold b16!; 2 customer customer!; 3 expires_at i64; 4 lines Line*; 5 total i64; "
                  "6 currency currency!",
    "Line": "1 event id?; 2 ticket_type id!; 3 counted u32?; 4 places Places?; 5 unit_price i64; 6 version u32; "
            "7 channel id?; 8 components Component*",
    "Places": "1 ids id*",
    "Component": "1 kind enum3!; 2 id id!; 3 amount u64",
    "HoldExtended": "1 hold b16!; 2 expires_at i64",
    "HoldEnded": "1 hold b16!",
    "OrderPlaced": "1 order order!; 2 sequence u64; 3 hold b16?; 4 customer customer!; 5 lines Line*; "
                   "6 total i64; 7 currency currency!; 8 payment_due i64?",
    "OrderCancelled": "1 order order!; 2 reason enum3!",
    "PaymentRecorded": "1 order order!; 2 provider enum1!; 3 reference reference!; 4 amount i64; "
                       "5 currency currency!; 6 paid_at i64; 7 outcome enum3!; 8 refund_reason enum4?",
    "PaymentRefunded": "1 order order!; 2 reference reference!",
}.items()}
TEXTS = {"id": r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "customer": r"[!-?A-~]{1,64}", "reference": r"[!-?A-~]{1,128}",
         "order": r"[A-HJ-NP-Z2-9]{10}", "currency": r"[A-Z]{3}", "text": r"(?s).*"}
TEXTS = {form: re.compile(pattern) for form, pattern in TEXTS.items()}
DEFAULTS = {"text": "", "bool": False}


def varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Damage("the record's bytes end too early, or a number is too long")
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            if value >= 1 << 64:
                raise Damage("a number has more than 64 bits")
            return value, at


def decode(data, message="Record"):
    schema, found, at = SCHEMA[message], {}, 0
    while at < len(data):
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = varint(data, at)
        elif wire in (1, 2, 5):
            length, at = varint(data, at) if wire == 2 else (8 if wire == 1 else 4, at)
            value, at = data[at:at + length], at + length
        if wire not in (0, 1, 2, 5) or number == 0 or number >= 1 << 29 or at > len(data):
            raise Damage(f"{message} is not protobuf")
        if number not in schema:
            if message == "Record" and 16 <= number <= 511:
                raise Damage(f"fact number {number} is unknown")
            continue
        name, form = schema[number]
        value = read_value(f"{message}.{name}", form.rstrip("!?*"), wire, value)
        if form.endswith("*"):
            found.setdefault(name, []).append(value)
        elif name in found:
            raise Damage(f"{message}.{name} is there twice")
        else:
            found[name] = value
    for name, form in schema.values():
        if name not in found:
            if form.endswith("!"):
                raise Damage(f"{message}.{name} is missing")
            plain = form.rstrip("?*")
            found[name] = None if form.endswith("?") else [] if form.endswith("*") else DEFAULTS.get(plain, 0)
    return found


def read_value(name, form, wire, value):
    if (wire == 0) != (form in ("i64", "u32", "u64", "bool") or form.startswith("enum")) or wire in (1, 5):
        raise Damage(f"{name} has the wire type {wire}")
    if form == "i64":
        return value - (1 << 64) if value >> 63 else value
    if wire == 0:
        high = {"u32": (1 << 32) - 1, "u64": 1 << 64, "bool": 1}.get(form) or int(form[4:])
        if value > high or (value == 0 and form.startswith("enum")):
            raise Damage(f"{name} is {value}")
        return bool(value) if form == "bool" else value
    if form == "b16":
        if len(value) != 16:
            raise Damage(f"{name} has {len(value)} bytes")
        return value
    if form in SCHEMA:
        return decode(value, form)
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise Damage(f"{name} is not UTF-8") from None
    if not TEXTS[form].fullmatch(text):
        raise Damage(f"{name} is {text!r}")
    return text


def decode_record(data):
    record = decode(data)
    facts = [name for name, _ in (SCHEMA["Record"][n] for n in SCHEMA["Record"] if n >= 16) if record[name] is not None]
    stamp, subject = (record["stamp_id"], record["stamp_body"]), (record["organizer"], record["event"])
    if len(facts) != 1 or (stamp == (None, None)) != (None in stamp) or (subject == (None, None)) != (None in subject):
        raise Damage("a record needs one fact, all of a stamp or none, all of a subject or none")
    if record["stamp_chosen"] is not None and None in stamp:
        raise Damage("a record has half a stamp")
    fact = record[facts[0]]
    for line in fact.get("lines", ()):
        if (line["counted"] is None) == (line["places"] is None):
            raise Damage("a line takes either a count or places")
    if facts[0] == "PaymentRecorded" and (fact["outcome"] == 3) != (fact["refund_reason"] is not None):
        raise Damage("a reason for a refund belongs to a payment that is due back")
    return record, facts[0], fact


# ---------------------------------------------------------------- codes

ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
MASK = (1 << 64) - 1


def siphash(key, message):
    """SipHash-2-4 with 64 bits of output."""
    k0, k1 = struct.unpack("<QQ", key)
    v0, v1 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D
    v2, v3 = k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573

    def rounds(count):
        nonlocal v0, v1, v2, v3
        for _ in range(count):
            v0 = v0 + v1 & MASK
            v1 = (v1 << 13 & MASK | v1 >> 51) ^ v0
            v0 = v0 << 32 & MASK | v0 >> 32
            v2 = v2 + v3 & MASK
            v3 = (v3 << 16 & MASK | v3 >> 48) ^ v2
            v0 = v0 + v3 & MASK
            v3 = (v3 << 21 & MASK | v3 >> 43) ^ v0
            v2 = v2 + v1 & MASK
            v1 = (v1 << 17 & MASK | v1 >> 47) ^ v2
            v2 = v2 << 32 & MASK | v2 >> 32

    padded = message + bytes(7 - len(message) % 8) + bytes([len(message) & 255])
    for (word,) in struct.iter_unpack("<Q", padded):
        v3 ^= word
        rounds(2)
        v0 ^= word
    v2 ^= 0xFF
    rounds(4)
    return v0 ^ v1 ^ v2 ^ v3


def permuted(key, letter, bits, number, symbols):
    """A number of so many bits, permuted under the key, as symbols."""
    low_bits = bits - bits // 2
    high, low = number >> low_bits, number & (1 << low_bits) - 1
    for r in range(10):
        half = siphash(key, letter + bytes([r]) + struct.pack("<Q", high if r % 2 else low))
        if r % 2:
            low ^= half & (1 << low_bits) - 1
        else:
            high ^= half & (1 << bits // 2) - 1
    number = high << low_bits | low
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(symbols)))


def order_code(key, shard, generation, sequence):
    return "E" + permuted(key, b"O", 45, shard << 39 | generation << 32 | sequence, 9)


def ticket_code(key, shard, generation, sequence, ordinal):
    """Of the ticket with this number in its order, from 0. A permutation: none comes twice."""
    return permuted(key, b"T", 80, shard << 74 | generation << 67 | sequence << 35 | ordinal << 19, 16)


# ---------------------------------------------------------------- the books

INTEGER_MAX = (1 << 53) - 1
PRICE_MAX, CAPACITY_MAX, DAY_US = 10**12, 10**9, 24 * 3600 * 10**6
COMMANDS_REMEMBERED_MAX = 1 << 20
APPLIED, REINSTATED, REFUND_DUE = 1, 2, 3
UNPAID, CUSTOMER, ORGANIZER = 1, 2, 3
OPEN, PAUSED = 1, 2


def amiss(definition):
    """What is wrong with a definition by itself; None where nothing is."""
    def window(value):
        opens, closes = (value or {}).get("opens_at"), (value or {}).get("closes_at")
        return time(opens) and time(closes) and (opens is None or closes is None or opens < closes)

    def time(value):
        return value is None or 0 <= value <= INTEGER_MAX

    def unique(ids):
        return len(ids) == len(set(ids))

    def name(text):
        return 1 <= len(text.encode()) <= 200

    types, quotas, limits = definition["ticket_types"], definition["quotas"], definition["limits"]
    type_ids, quota_ids = [t["id"] for t in types], [q["id"] for q in quotas]
    numbers = [n for limit in limits for n in (limit["per_order"], limit["per_customer"]) if n is not None]
    rules = {
        "name": name(definition["name"]), "starts_at": time(definition["starts_at"]), "sale": window(definition["sale"]),
        "hold_seconds": 1 <= definition["hold_seconds"] <= 86_400,
        "payment_seconds": 1 <= definition["payment_seconds"] <= 7_776_000,
        "quotas": 1 <= len(quotas) <= 1000 and unique(quota_ids)
                  and all((q["capacity"] or 0) <= CAPACITY_MAX for q in quotas)
                  and set(quota_ids) == {q for t in types for q in t["quotas"]},
        "ticket_types": 1 <= len(types) <= 1000 and unique(type_ids) and all(
            name(t["name"]) and window(t["sale"]) and 0 <= t["price"] <= PRICE_MAX
            and 1 <= len(t["quotas"]) <= 16 and unique(t["quotas"]) for t in types),
        "limits": len(limits) <= 64 and all(1 <= n <= CAPACITY_MAX for n in numbers) and all(
            unique(limit["ticket_types"]) and set(limit["ticket_types"]) <= set(type_ids)
            and (limit["per_order"] or limit["per_customer"]) for limit in limits),
    }
    return next((field for field, right in rules.items() if not right), None)


class Quota:
    def __init__(self, capacity, allotment):
        self.capacity, self.allotment = capacity, allotment
        self.free, self.held, self.sold, self.oversold, self.broken = allotment or 0, 0, 0, 0, False

    def right(self):
        counted = self.allotment is None or (self.free >= 0 and self.free + self.held + self.sold == self.allotment)
        return self.held >= 0 and self.sold >= 0 and counted


class Shard:
    """Where a shard's journal stands: position, time, generation, orders, recent commands."""

    def __init__(self):
        self.records = self.position = self.at = self.generation = self.sequence = self.commands = 0
        self.started, self.latest, self.by_age = None, {}, deque()

    def command_is_new(self, key, at):
        """Whether a chosen id was not used within its window."""
        while self.by_age and at - self.by_age[0][1] >= DAY_US:
            old, _ = self.by_age.popleft()
            if old in self.latest and at - self.latest[old][0] >= DAY_US:
                del self.latest[old]
        self.commands += 1
        self.by_age.append((key, at))
        before, self.latest[key] = self.latest.get(key), (at, self.commands)
        return before is None or self.commands - before[1] >= COMMANDS_REMEMBERED_MAX


class Event:
    """The books of one event."""

    def __init__(self, books, name, shard):
        self.books, self.name, self.shard = books, name, shard
        self.version, self.state, self.definition, self.currency = 0, PAUSED, None, None
        self.quotas, self.customers, self.holds, self.orders, self.payments = {}, {}, {}, {}, {}
        self.totals = Counter()

    def check(self, holds, rule, what):
        self.books.check(holds, rule, f"event {self.name}: {what}")

    # The catalogue

    def define(self, fact):
        new, old = fact["definition"], self.definition
        bad = amiss(new)
        self.check(bad is None, "Definition", f"the definition's {bad} is wrong")
        stocks = fact["stocks"]
        self.check(len(stocks) == len(new["quotas"]), "Definition", "not one stock for each quota")
        for quota, stock in zip(new["quotas"], stocks):
            own = stock["source"] == 1
            self.check(not own or stock["allotment"] == quota["capacity"], "Definition", "allotment is not capacity")
        self.step(fact["version"])
        if old:
            self.check(new["sale_group"] == old["sale_group"], "Placement", "the sale group has changed")
            self.check(self.currency in (None, new["currency"]), "Definition", "the currency changed after a sale")
            self.recount()
            left = {quota["id"] for quota in new["quotas"]}
            for id, quota in self.quotas.items():
                self.check(id in left or quota.held + quota.sold == 0, "Definition", f"quota {id} was taken out in use")
            types = {t["id"] for t in new["ticket_types"]}
            for has in self.customers.values():
                self.check(has.keys() <= types, "Definition", "a ticket type was taken out in use")
        self.definition = new
        self.types = {t["id"]: t for t in reversed(new["ticket_types"])}
        counts, before, self.quotas = self.counted(), self.quotas, {}
        for quota, stock in zip(new["quotas"], stocks):
            fresh = self.quotas[quota["id"]] = Quota(quota["capacity"], stock["allotment"])
            fresh.held, fresh.sold = counts[0][quota["id"]], counts[1][quota["id"]]
            fresh.free -= fresh.held + fresh.sold
            fresh.oversold = before[quota["id"]].oversold if quota["id"] in before else 0
        self.check_stock()

    def step(self, version):
        self.check(version == self.version + 1, "Versions", f"version {version} follows {self.version}")
        self.version = version

    # Stock

    def quotas_of(self, line):
        ticket_type = self.types.get(line["ticket_type"])
        return ticket_type["quotas"] if ticket_type else ()

    def shift(self, lines, source, target):
        for line in lines:
            for id in self.quotas_of(line):
                quota = self.quotas.get(id)
                if quota:
                    setattr(quota, source, getattr(quota, source) - line["counted"])
                    setattr(quota, target, getattr(quota, target) + line["counted"])

    def take(self, customer, lines, pile):
        self.shift(lines, "free", pile)
        has = self.customers.setdefault(customer, Counter())
        for line in lines:
            has[line["ticket_type"]] += line["counted"]

    def give_back(self, customer, lines, pile):
        self.shift(lines, pile, "free")
        has = self.customers.get(customer)
        if has is None:
            return
        for line in lines:
            has[line["ticket_type"]] -= line["counted"]
            if has[line["ticket_type"]] == 0:
                del has[line["ticket_type"]]
        if not has:
            del self.customers[customer]

    def check_stock(self):
        for id, q in self.quotas.items():
            right = q.right()
            if q.allotment is not None:
                q.oversold = max(q.oversold, q.held + q.sold - q.allotment)
            self.check(right or q.broken, "Stock", f"quota {id}: {q.free} free + {q.held} held + {q.sold} sold of {q.allotment}")
            q.broken = not right

    def counted(self):
        """Held and sold per quota, from the live holds and the orders themselves."""
        held, sold = Counter(), Counter()
        live = (order for order in self.orders.values() if order["state"] not in (UNPAID, CUSTOMER, ORGANIZER))
        for pile, owners in ((held, self.holds.values()), (sold, live)):
            for owner in owners:
                for line in owner["lines"]:
                    for quota in self.quotas_of(line):
                        pile[quota] += line["counted"]
        return held, sold

    def recount(self):
        held, sold = self.counted()
        for id, q in self.quotas.items():
            self.check((q.held, q.sold) == (held[id], sold[id]), "Stock", f"quota {id} was counted otherwise")

    # Lines

    def check_lines(self, fact):
        lines = fact["lines"]
        for line in lines:
            plain = line["event"] is None and line["places"] is None and not line["components"]
            self.check(plain, "Unsupported", "a line of another event, of places, or with components")
            if line["counted"] is None:
                line["counted"] = len(line["places"]["ids"])
            self.check(1 <= line["counted"] <= 1000, "Quantity", f"{line['counted']} tickets in one line")
        self.check(1 <= len(lines) <= 32, "Quantity", f"{len(lines)} lines")
        self.check(sum(line["counted"] for line in lines) <= 1000, "Quantity", "too many tickets")
        total = sum(line["counted"] * line["unit_price"] for line in lines)
        self.check(total == fact["total"], "Total", f"the total is {fact['total']}, the lines come to {total}")
        self.currency = self.currency or self.definition["currency"]
        self.check(fact["currency"] == self.currency, "Total", f"the currency is {fact['currency']}")

    def check_window(self, window):
        opens, closes = (window or {}).get("opens_at"), (window or {}).get("closes_at")
        at = self.books.at
        self.check((opens is None or at >= opens) and (closes is None or at < closes), "Window", "sold outside the window")

    def check_new_lines(self, lines):
        self.check(self.state == OPEN, "State", "the event is not open")
        self.check_window(self.definition["sale"])
        for line in lines:
            self.check(line["version"] == self.version, "Versions", "a line of another version")
            ticket_type = self.types.get(line["ticket_type"])
            self.check(ticket_type is not None, "TicketType", f"{line['ticket_type']} is not in the definition")
            if ticket_type is None:
                continue
            price = ticket_type["price"]
            chosen = ticket_type["free_price"] and price <= line["unit_price"] <= PRICE_MAX
            self.check(line["unit_price"] == price or chosen, "Price", f"{ticket_type['id']} sold at {line['unit_price']}")
            self.check_window(ticket_type["sale"])
        for limit in self.definition["limits"]:
            asked = sum(line["counted"] for line in lines if covers(limit, line["ticket_type"]))
            self.check(limit["per_order"] is None or asked <= limit["per_order"], "OrderLimit", f"an order of {asked}")

    def limit_broken(self, customer, lines, more):
        has = self.customers.get(customer, {})
        for limit in self.definition["limits"]:
            asked = sum(line["counted"] for line in lines
                        if covers(limit, line["ticket_type"]) and line["ticket_type"] in self.types)
            owned = sum(n for id, n in has.items() if covers(limit, id)) + more * asked
            if limit["per_customer"] is not None and asked > 0 and owned > limit["per_customer"]:
                return True
        return False

    def take_new(self, customer, lines, pile):
        self.take(customer, lines, pile)
        self.check(not self.limit_broken(customer, lines, 0), "CustomerLimit", f"{customer} has too many")
        self.check_stock()

    # Holds

    def place_hold(self, fact):
        id = fact["hold"]
        self.check(id not in self.books.fates, "HoldOnce", "a hold with this id was placed before")
        self.books.fates[id] = "live"
        self.check_lines(fact)
        self.check_new_lines(fact["lines"])
        due = self.books.at + 10**6 * self.definition["hold_seconds"]
        self.check(fact["expires_at"] == due, "Deadline", "the hold's deadline is not the definition's")
        self.take_new(fact["customer"], fact["lines"], "held")
        self.totals["placed"] += 1
        self.holds[id] = {"customer": fact["customer"], "lines": fact["lines"], "due": fact["expires_at"], "extended": False}

    def extend_hold(self, fact):
        self.check(self.state == OPEN, "State", "the event is not open")
        hold = self.holds.get(fact["hold"])
        self.check(hold is not None, "HoldOnce", "there is no such live hold")
        if hold:
            due = max(hold["due"], self.books.at + 10**6 * self.definition["hold_seconds"])
            self.check(fact["expires_at"] == due, "Deadline", "the new deadline is not the definition's")
            self.check(self.books.at < hold["due"] and not hold["extended"], "Deadline", "too late, or extended before")
            hold["due"], hold["extended"] = fact["expires_at"], True

    def end_hold(self, id, fate):
        hold = self.holds.pop(id, None)
        self.check(hold is not None, "HoldOnce", f"{fate}, but there is no such live hold")
        if hold:
            late = self.books.at >= hold["due"]
            self.check(late == (fate == "expired"), "Deadline", f"{fate} on the wrong side of its deadline")
            self.books.fates[id] = fate
            self.totals[fate] += 1
            self.give_back(hold["customer"], hold["lines"], "held")
            if fate != "claimed":
                self.check_stock()
        return hold

    # Orders and money

    def place_order(self, fact):
        self.check_lines(fact)
        customer, lines = fact["customer"], fact["lines"]
        if fact["hold"] is None:
            self.check_new_lines(lines)
            self.take_new(customer, lines, "sold")
        else:
            hold = self.end_hold(fact["hold"], "claimed")
            same = hold is None or (hold["customer"] == customer and bare(hold["lines"]) == bare(lines))
            self.check(same, "Claim", "the order is not the hold's")
            self.take(customer, lines, "sold")
            self.check_stock()
        due = self.books.at + 10**6 * self.definition["payment_seconds"] if fact["total"] > 0 else None
        self.check(fact["payment_due"] == due, "Deadline", "the time to pay is not the definition's")
        state = "confirmed" if fact["payment_due"] is None else "awaiting"
        self.orders[fact["order"]] = {"customer": customer, "lines": lines, "total": fact["total"], "state": state,
                                      "currency": fact["currency"], "due": fact["payment_due"], "payments": []}

    def find_order(self, code):
        order = self.orders.get(code)
        self.check(order is not None, "OrderState", f"there is no order {code}")
        return order

    def outcome(self, order):
        """What has to become of a payment: outcome and reason."""
        if order["state"] == "awaiting":
            return APPLIED, None
        if order["state"] == "confirmed":
            return REFUND_DUE, 1
        if order["state"] != UNPAID:
            return REFUND_DUE, 4
        if self.limit_broken(order["customer"], order["lines"], 1):
            return REFUND_DUE, 3
        asked = Counter()
        for line in order["lines"]:
            if line["ticket_type"] not in self.types:
                return REFUND_DUE, 2
            for quota in self.quotas_of(line):
                asked[quota] += line["counted"]
        there = all(id in self.quotas and (self.quotas[id].allotment is None or self.quotas[id].free >= n)
                    for id, n in asked.items())
        return (REINSTATED, None) if there else (REFUND_DUE, 2)

    def record_payment(self, fact):
        order = self.find_order(fact["order"])
        if order is None:
            return
        exact = fact["amount"] == order["total"] > 0 and fact["currency"] == order["currency"]
        self.check(exact, "PaymentAmount", f"{fact['amount']} for {fact['order']}")
        self.check(0 <= fact["paid_at"] <= self.books.at + 300 * 10**6, "PaymentAmount", "paid in the future")
        follows = self.outcome(order)
        self.check((fact["outcome"], fact["refund_reason"]) == follows, "PaymentOutcome", f"{follows} follows")
        self.check(len(order["payments"]) < 100, "PaymentAmount", "too many payments")
        reference, due = fact["reference"], fact["outcome"] == REFUND_DUE
        new = reference not in self.payments
        self.check(new, "PaymentReference", f"the payment {reference} was recorded before")
        self.payments[reference] = {"order": fact["order"], "amount": fact["amount"], "state": "refund_due" if due else "applied"}
        if new:
            order["payments"].append(reference)
        if fact["outcome"] == REINSTATED and order["state"] in (UNPAID, CUSTOMER, ORGANIZER):
            self.take_new(order["customer"], order["lines"], "sold")
        if not due:
            order["state"] = "confirmed"

    def refund_payment(self, fact):
        payment = self.payments.get(fact["reference"])
        self.check(payment is not None, "Refund", "there is no such payment")
        if payment:
            right = payment["order"] == fact["order"] and payment["state"] == "refund_due"
            self.check(right, "Refund", f"{fact['reference']} was not due back")
            payment["state"] = "refunded"

    def cancel_order(self, fact):
        order, reason = self.find_order(fact["order"]), fact["reason"]
        if order is None:
            return
        if order["state"] not in ("awaiting", "confirmed"):
            self.check(False, "OrderState", f"{fact['order']} was cancelled before")
            return
        self.check(order["state"] == "awaiting" or reason == ORGANIZER, "OrderState", f"{fact['order']} is confirmed")
        late = order["due"] is not None and self.books.at >= order["due"]
        self.check(reason != UNPAID or late, "Deadline", f"{fact['order']} was cancelled too early")
        order["state"] = reason
        for reference in order["payments"]:
            if self.payments[reference]["state"] == "applied":
                self.payments[reference]["state"] = "refund_due"
        self.give_back(order["customer"], order["lines"], "sold")
        self.check_stock()

    # The end

    def finish(self):
        self.recount()
        has = {}
        for owner in [*self.holds.values(), *self.orders.values()]:
            if owner.get("state") not in (UNPAID, CUSTOMER, ORGANIZER):
                for line in owner["lines"]:
                    has.setdefault(owner["customer"], Counter())[line["ticket_type"]] += line["counted"]
        self.check(has == self.customers, "CustomerLimit", "what customers have was counted otherwise")
        owned = 0
        for code, order in self.orders.items():
            states = [self.payments[r]["state"] for r in order["payments"] if r in self.payments]
            paid = order["state"] == "confirmed" and order["total"] > 0
            self.check(states.count("applied") == paid, "Money", f"{code} is {order['state']}, payments {states}")
            owned += order["total"] if order["state"] == "confirmed" else 0
        amounts = self.amounts()
        received = sum(payment["amount"] for payment in self.payments.values())
        self.check(received == owned + amounts["refund_due"] + amounts["refunded"], "Money", "money is lost or made")

    def amounts(self):
        amounts = Counter()
        for payment in self.payments.values():
            amounts[payment["state"]] += payment["amount"]
        return amounts

    def report(self):
        organizer, event = self.name.split("/")
        quotas = [{"id": id, "capacity": q.capacity, "allotment": q.allotment, "held": q.held, "sold": q.sold,
                   "free": None if q.allotment is None else q.free, "oversold": q.oversold}
                  for id, q in self.quotas.items()]
        return {"organizer": organizer, "event": event, "shard": self.shard, "version": self.version, "quotas": quotas}


def covers(limit, ticket_type):
    return not limit["ticket_types"] or ticket_type in limit["ticket_types"]


def bare(lines):
    return [(line["ticket_type"], line["counted"], line["unit_price"], line["version"]) for line in lines]


class Books:
    """All shards and events; takes records one by one."""

    def __init__(self):
        self.findings, self.count, self.where, self.at = [], 0, "", 0
        self.log, self.shards, self.groups, self.events, self.fates, self.codes = None, {}, {}, {}, {}, set()

    def check(self, holds, rule, what):
        if not holds:
            self.count += 1
            if len(self.findings) < 100:
                self.findings.append({"what": f"{self.where}: {what} ({rule})"})

    def record(self, number, position, data):
        record, kind, fact = decode_record(data)
        self.where = f"shard {number}, position {position}"
        self.at = min(max(record["at"], 0), INTEGER_MAX)
        self.check(self.at == record["at"] and number < 64, "Unsupported", "shard or time out of range")
        shard = self.shards.setdefault(number, Shard())
        self.check(position == shard.position + 1, "Positions", f"follows position {shard.position}")
        self.check(self.at >= shard.at, "Time", "time runs backwards")
        self.check(kind == "ShardStarted" or shard.started, "Shards", "the shard has not been started")
        shard.records, shard.position, shard.at = shard.records + 1, position, max(self.at, shard.at)
        of_shard = kind in ("ShardStarted", "GenerationStarted")
        if of_shard != (record["organizer"] is None):
            return self.check(False, "Placement", f"{kind} with a subject, or without one")
        if of_shard:
            return self.shard_fact(number, shard, kind, fact)
        organizer, name = record["organizer"], f"{record['organizer']}/{record['event']}"
        if kind == "GroupPlaced":
            group = f"{organizer}/{fact['sale_group']}"
            self.check(group not in self.groups, "Placement", f"{group} was placed before")
            self.groups[group] = number
            return None
        if record["stamp_chosen"]:
            new = shard.command_is_new((record["stamp_id"], name), self.at)
            self.check(new, "CommandOnce", "the command was carried out before")
        if kind == "OrderPlaced":
            self.check_code(number, shard, fact)
        return self.event_fact(number, organizer, name, kind, fact)

    def shard_fact(self, number, shard, kind, fact):
        generation = fact["generation"]
        if kind == "ShardStarted":
            self.log = self.log or fact
            self.check(shard.started is None, "Shards", "the shard was started before")
            fits = fact["shard"] == number < fact["shards"] and generation <= 127
            self.check(fits, "Shards", f"it says to be shard {fact['shard']} of {fact['shards']}")
            same = all(fact[key] == self.log[key] for key in ("log", "shards", "key"))
            self.check(same, "Shards", "log, number of shards or secret differ")
            shard.started = fact
        else:
            self.check(shard.generation < generation <= 127, "Shards", f"generation {generation} after {shard.generation}")
        shard.generation = generation

    def check_code(self, number, shard, fact):
        code, sequence = fact["order"], fact["sequence"]
        self.check(sequence == shard.sequence + 1 < 1 << 32, "Sequence", f"order {sequence} after {shard.sequence}")
        shard.sequence = sequence
        self.check(code not in self.codes, "OrderCode", f"the code {code} was given before")
        self.codes.add(code)
        if shard.started and sequence < 1 << 32 and shard.generation < 128 and number < 64:
            right = order_code(shard.started["key"], number, shard.generation, sequence)
            self.check(code == right, "OrderCode", f"{code} should be {right}")

    def event_fact(self, number, organizer, name, kind, fact):
        event = self.events.get(name)
        if kind == "EventDefined":
            group = f"{organizer}/{fact['definition']['sale_group']}"
            self.check(self.groups.get(group) == number, "Placement", f"{group} was not placed on this shard")
            event = event or self.events.setdefault(name, Event(self, name, number))
        if event is None:
            return self.check(False, "Definition", f"{name} was never defined")
        self.check(event.shard == number, "Placement", f"{name} lives on shard {event.shard}")
        if kind == "StateSet":
            event.step(fact["version"])
            event.state = fact["state"]
        elif kind in ("HoldReleased", "HoldExpired"):
            event.end_hold(fact["hold"], kind[4:].lower())
        else:
            {"EventDefined": event.define, "HoldPlaced": event.place_hold, "HoldExtended": event.extend_hold,
             "OrderPlaced": event.place_order, "OrderCancelled": event.cancel_order,
             "PaymentRecorded": event.record_payment, "PaymentRefunded": event.refund_payment}[kind](fact)
        return None

    def finish(self):
        self.where = "at the end"
        for number in range(self.log["shards"] if self.log and self.events else 0):
            self.check(number in self.shards, "Shards", f"shard {number} has no records")
        events = [self.events[name] for name in sorted(self.events)]
        for event in events:
            event.finish()
        holds = sum((event.totals for event in events), Counter())
        orders = [order for event in events for order in event.orders.values()]
        states = Counter(order["state"] for order in orders)
        paid = Counter(payment["state"] for event in events for payment in event.payments.values())
        tickets = sum(line["counted"] for o in orders if o["state"] == "confirmed" for line in o["lines"])
        return {
            "ok": self.count == 0,
            "records": sum(shard.records for shard in self.shards.values()),
            "holds": {**{key: holds[key] for key in ("placed", "claimed", "released", "expired")},
                      "live": sum(len(event.holds) for event in events)},
            "orders": {"confirmed": states["confirmed"], "awaiting_payment": states["awaiting"],
                       "cancelled_unpaid": states[UNPAID], "cancelled_customer": states[CUSTOMER],
                       "cancelled_organizer": states[ORGANIZER], "tickets": tickets},
            "payments": {key: paid[key] for key in ("applied", "refund_due", "refunded")},
            "events": [event.report() for event in events],
            "findings_count": self.count,
            "findings": self.findings,
        }


def audit(data, archive):
    try:
        with open(os.path.join(data, "onsale.log"), encoding="ascii") as file:
            fixed = re.fullmatch(r"onsale data folder, format 1\nlog ([0-9a-f]{32})\nshards (\d+)\n", file.read())
    except (OSError, UnicodeDecodeError) as error:
        raise Damage(f"{data} is no data folder of Onsale: {error}") from None
    if not fixed:
        raise Damage("onsale.log is not the file of an Onsale data folder, format 1")
    books = Books()
    for number in range(int(fixed[2])):
        folder = f"shard-{number:02}"
        try:
            identity, log = read_log(os.path.join(data, folder), archive and os.path.join(archive, folder))
            if identity != (bytes.fromhex(fixed[1]), number):
                raise Damage("its journal is another log's or shard's")
            for batch in log:
                for position, record in enumerate(batch.records(), batch.first):
                    books.record(number, position, record)
        except Damage as damage:
            raise Damage(f"shard {number}: {damage}") from None
    return books.finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="the data folder; no server may be working on it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--archive", help="the folder that sealed segments are archived to")
    args = parser.parse_args()
    if not os.path.isdir(args.data):
        parser.error(f"{args.data} is no folder")
    try:
        report = audit(args.data, args.archive)
    except (Damage, OSError) as error:
        print(f"audit.py: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(report))
    else:
        for event in report["events"]:
            for q in event["quotas"]:
                print(f"{event['organizer']}/{event['event']}  {q['id']}: {q['free']} free, {q['held']} held, {q['sold']} sold")
        for key in ("records", "holds", "orders", "payments"):
            print(f"{key:9} {report[key]}")
        for finding in report["findings"]:
            print("WRONG    ", finding["what"])
        print("ok" if report["ok"] else f"not right: {report['findings_count']} findings")
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
