#!/usr/bin/env python3
"""Simulates an on-sale from measured costs: how long a crowd waits for what, with so many machines of which kind.

    python3 tools/plan.py --buyers 1000000 --tickets 100000 --within 60 --op-us 30 --fronts 8 --front-us 12

Each buyer is simulated: comes, asks a front tier, which asks the engine; gets a hold or is refused; claims the hold
after a while, or never. Front tiers and engine shards serve one request after another, first come, first served,
each at its cost; bring the costs from `onsale bench` on your machines. Nothing is random but by --seed: the same
arguments give the same answer. Only Python 3's standard library is used. A million buyers take a few minutes.

What it leaves out: the network, bursts of slow disk syncs, buyers who give up because a page is slow, and the
engine's own admission, which refuses early instead of letting a queue grow. So where it shows a wait of more
than a second or two, read: too few machines.

Exit codes: 0 sold out, or every buyer served; 1 neither; 2 the arguments make no sense.
"""
import argparse
import heapq
import json
import random
import sys

ARRIVES, ASKS, ASKED, CLAIMS, CLAIMED, RUNS_OUT = range(6)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])

    def number(name, default, low, high, text, kind=int):
        def checked(value):
            try:
                value = kind(value)
            except ValueError:
                raise argparse.ArgumentTypeError(f"{value!r} is not a number") from None
            if not low <= value <= high:
                raise argparse.ArgumentTypeError(f"{value} is not between {low} and {high}")
            return value

        parser.add_argument("--" + name, type=checked, default=default, help=f"{text} (default {default})")

    number("buyers", 1_000_000, 1, 10_000_000, "who want one ticket each")
    number("tickets", 100_000, 1, 10_000_000, "of all events together")
    number("events", 1, 1, 100_000, "the tickets are spread over; each is a sale group")
    number("shards", 1, 1, 1_000, "of the engine; a sale group is on one of them")
    number("within", 60.0, 0, 86_400, "seconds in which the crowd arrives, most of it early", float)
    number("op-us", 30.0, 0.01, 1e6, "microseconds of a shard for one command", float)
    number("fronts", 8, 1, 10_000, "processes of the front tier, one core each")
    number("front-us", 12.0, 0.01, 1e6, "microseconds of a front tier for one request", float)
    number("hold-seconds", 300.0, 1, 86_400, "until a hold runs out", float)
    number("claim-seconds", 60.0, 0, 86_400, "at most, that a buyer takes to claim a hold", float)
    number("abandon", 0.2, 0, 1, "share of the holds that nobody claims", float)
    number("retry", 30.0, 0.1, 3_600, "seconds until a refused buyer asks again", float)
    number("patience", 600.0, 0, 86_400, "seconds that a buyer stays", float)
    number("seed", 1, 0, 2**63, "of what is random")
    parser.add_argument("--informed", action="store_true",
                        help="front tiers follow the live availability, a second late, and refuse by themselves")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    given = parser.parse_args()
    for name in ("claim_seconds",):
        if getattr(given, name) > given.hold_seconds:
            parser.error("argument --claim-seconds: a hold of --hold-seconds would run out before it is claimed")
    if given.events > given.tickets:
        parser.error("argument --events: every event has a ticket at least; --tickets is less")
    return given


class Line:
    """Servers that take one request after another, each with a queue of its own."""

    def __init__(self, servers, cost_us):
        self.cost = cost_us / 1e6
        self.free_at = [0.0] * servers
        self.served = [0] * servers
        self.longest = 0.0

    def through(self, server, now):
        """When a request that comes now is done."""
        begins = max(now, self.free_at[server])
        done = begins + self.cost
        self.free_at[server] = done
        self.served[server] += 1
        self.longest = max(self.longest, done - now)
        return done


def simulate(given):
    chance = random.Random(given.seed)
    free = [given.tickets // given.events + (event < given.tickets % given.events) for event in range(given.events)]
    # What the front tiers know: free tickets of an event as the engine told it in the last whole second.
    known, known_at = list(free), [0] * given.events
    fronts, engine = Line(given.fronts, given.front_us), Line(given.shards, given.op_us)
    unsold = given.tickets
    figures = dict.fromkeys(("holds", "claims", "ran_out", "refused", "refused_in_front", "gave_up"), 0)
    first_answers, hold_answers = [], []
    sold_out_at = None
    # Most come early: the square of an even chance.
    heap = [(given.within * chance.random() ** 2, ARRIVES, buyer) for buyer in range(given.buyers)]
    heapq.heapify(heap)
    came, asked = {}, {}

    def answered(buyer, at):
        if buyer in asked:
            begun, is_first = asked.pop(buyer)
            if is_first:
                first_answers.append(at - begun)
            return at - begun
        return 0.0

    def refused(buyer, at):
        answered(buyer, at)
        again = at + given.retry * (0.5 + chance.random())
        if unsold == 0 or again > came[buyer] + given.patience:
            figures["gave_up"] += 1
            del came[buyer]
        else:
            heapq.heappush(heap, (again, ASKS, buyer))

    while heap:
        now, what, buyer = heapq.heappop(heap)
        event = buyer % given.events
        shard, front = event % given.shards, buyer % given.fronts
        if what in (ARRIVES, ASKS):
            is_first = what == ARRIVES
            if is_first:
                came[buyer] = now
            asked[buyer] = (now, is_first)
            at_engine = fronts.through(front, now)
            if given.informed and known_at[event] != int(at_engine):
                known[event], known_at[event] = free[event], int(at_engine)
            if given.informed and known[event] == 0:
                figures["refused_in_front"] += 1
                refused(buyer, at_engine)
            else:
                heapq.heappush(heap, (at_engine, ASKED, buyer))
        elif what == ASKED:
            done = engine.through(shard, now)
            if free[event] == 0:
                figures["refused"] += 1
                refused(buyer, done)
                continue
            free[event] -= 1
            figures["holds"] += 1
            hold_answers.append(answered(buyer, done))
            if chance.random() < given.abandon:
                heapq.heappush(heap, (done + given.hold_seconds, RUNS_OUT, buyer))
                del came[buyer]
            else:
                heapq.heappush(heap, (done + given.claim_seconds * chance.random(), CLAIMS, buyer))
        elif what == CLAIMS:
            heapq.heappush(heap, (fronts.through(front, now), CLAIMED, buyer))
        elif what == CLAIMED:
            done = engine.through(shard, now)
            figures["claims"] += 1
            unsold -= 1
            del came[buyer]
            if unsold == 0:
                sold_out_at = done
        else:
            free[event] += 1
            figures["ran_out"] += 1

    end = sold_out_at or max(max(engine.free_at), max(fronts.free_at))
    at = lambda waits, share: round(1e3 * waits[min(len(waits) - 1, int(len(waits) * share))], 1) if waits else None
    first_answers.sort()
    hold_answers.sort()
    figures.update(
        sold=given.tickets - unsold,
        sold_out_after_s=round(sold_out_at, 1) if sold_out_at else None,
        commands=sum(engine.served),
        busiest_shard=round(max(engine.served) * engine.cost / end, 3),
        busiest_front=round(max(fronts.served) * fronts.cost / end, 3),
        first_answer_ms={"p50": at(first_answers, 0.5), "p99": at(first_answers, 0.99), "max": at(first_answers, 1)},
        hold_ms={"p50": at(hold_answers, 0.5), "p99": at(hold_answers, 0.99), "max": at(hold_answers, 1)},
        longest_wait_at_engine_ms=round(1e3 * engine.longest, 1),
        longest_wait_at_front_ms=round(1e3 * fronts.longest, 1),
    )
    return figures


def main():
    given = arguments()
    figures = simulate(given)
    if given.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            if isinstance(value, dict):
                value = " / ".join(f"{key} {one:,}" if one is not None else f"{key} –" for key, one in value.items())
            elif value is None:
                value = "–"
            else:
                value = f"{value:,}"
            print(f"  {name.replace('_', ' '):26} {value}")
    is_served = figures["sold_out_after_s"] is not None or figures["gave_up"] == 0
    sys.exit(0 if is_served else 1)


if __name__ == "__main__":
    main()
