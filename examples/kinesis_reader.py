#!/usr/bin/env python3
"""Reads the sales from a Kinesis stream: each once, in order per key, also after a restart.

    pip install boto3
    AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_DEFAULT_REGION=us-east-1 \
        python3 kinesis_reader.py sales --endpoint http://127.0.0.1:4567 --checkpoint reader.json

Each record is a CloudEvent in JSON; it is printed as one line. Shards may split and merge at any
time: a shard is read when its parents are read to their end, so a key's records stay in order.

Kinesis delivers at least once. The checkpoint holds the last sequence number of each shard and the
ids of the latest events, and is replaced as a whole; an event whose id is in it is passed over. What
is printed between two checkpoints is printed again after a crash: a program that stores its
effects in a database stores the checkpoint in the same transaction instead.
"""

import argparse
import json
import os
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

IDS_KEPT = 100_000  # How many of the latest ids are remembered, to tell a double.
PAUSE_SECONDS = 0.2  # Kinesis allows five reads a second for each shard.


class Checkpoint:
    """Where the reader is: `shards` maps a shard to its last sequence number, or to "END"."""

    def __init__(self, path):
        self.path, self.shards, self.ids = path, {}, {}
        if path and os.path.exists(path):
            with open(path) as file:
                stored = json.load(file)
            self.shards, self.ids = stored["shards"], dict.fromkeys(stored["ids"])

    def is_new(self, event_id):
        if event_id in self.ids:
            return False
        self.ids[event_id] = None
        while len(self.ids) > IDS_KEPT:
            del self.ids[next(iter(self.ids))]
        return True

    def store(self):
        if not self.path:
            return
        with open(self.path + ".new", "w") as file:
            json.dump({"shards": self.shards, "ids": list(self.ids)}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(self.path + ".new", self.path)


def list_shards(kinesis, stream):
    """All shards that are listed, by id."""
    pages = kinesis.get_paginator("list_shards").paginate(StreamName=stream)
    return {shard["ShardId"]: shard for page in pages for shard in page["Shards"]}


def ready(shards, checkpoint):
    """The shards that may be read now: not at their end, and all parents are."""
    for name, shard in shards.items():
        parents = [shard.get("ParentShardId"), shard.get("AdjacentParentShardId")]
        # A parent that is no longer listed is past retention.
        waits = [p for p in parents if p in shards and checkpoint.shards.get(p) != "END"]
        if checkpoint.shards.get(name) != "END" and not waits:
            yield name


def iterator(kinesis, stream, shard, checkpoint):
    """A new iterator from the last position. They die after five minutes."""
    at = checkpoint.shards.get(shard)
    where = {"ShardIteratorType": "TRIM_HORIZON"}
    if at:
        where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": at}
    return kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, **where)["ShardIterator"]


def read_once(kinesis, stream, shard, iterators, checkpoint):
    """Reads a page of a shard and prints what is new; says how many milliseconds it is behind."""
    if shard not in iterators:
        iterators[shard] = iterator(kinesis, stream, shard, checkpoint)
    try:
        page = kinesis.get_records(ShardIterator=iterators[shard], Limit=1000)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ExpiredIteratorException":
            raise
        del iterators[shard]
        return 1
    for record in page["Records"]:
        event = json.loads(record["Data"])
        if checkpoint.is_new(event["id"]):
            print(json.dumps(event, separators=(",", ":")))
        checkpoint.shards[shard] = record["SequenceNumber"]
    if page.get("NextShardIterator"):
        iterators[shard] = page["NextShardIterator"]
        return page["MillisBehindLatest"]
    # The shard has ended; its children may be read from now on.
    del iterators[shard]
    checkpoint.shards[shard] = "END"
    return 1


def main():
    parser = argparse.ArgumentParser(description="prints the events of a Kinesis stream, each once")
    parser.add_argument("stream")
    parser.add_argument("--endpoint", help="another address than AWS' own")
    parser.add_argument("--checkpoint", help="a file that says how far the reader is")
    parser.add_argument("--once", action="store_true", help="end where the stream ends now")
    arguments = parser.parse_args()
    # The library itself waits and tries again when it is throttled.
    config = Config(retries={"mode": "standard", "max_attempts": 10})
    kinesis = boto3.client("kinesis", endpoint_url=arguments.endpoint, config=config)
    checkpoint, iterators = Checkpoint(arguments.checkpoint), {}
    while True:
        begin = time.monotonic()
        shards = ready(list_shards(kinesis, arguments.stream), checkpoint)
        behind = [
            read_once(kinesis, arguments.stream, shard, iterators, checkpoint)
            for shard in list(shards)
        ]
        sys.stdout.flush()
        checkpoint.store()
        if arguments.once and not any(behind):
            return
        time.sleep(max(0, PAUSE_SECONDS - (time.monotonic() - begin)))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
