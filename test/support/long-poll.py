"""Follows channels by long polling, with the standard library alone: prints `<channel> <seq>` for each event.

Usage: long-poll.py URL UNTIL CHANNEL...   It ends when every channel has come to the seq UNTIL.
"""

import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

url, until, *channels = sys.argv[1:]
positions = {channel: "start" for channel in channels}
seen = {channel: 0 for channel in channels}

while min(seen.values()) < int(until):
    query = [pair for channel, since in positions.items() for pair in (("channel", channel), ("since", since))]
    try:
        with urllib.request.urlopen(f"{url}/v1/poll?{urllib.parse.urlencode(query)}", timeout=60) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        if error.code < 500 and error.code != 429:
            raise
        time.sleep(0.2)
        continue
    except (OSError, ValueError):  # not there, or gone before all of the answer had come
        time.sleep(0.2)
        continue
    for frame in answer["frames"]:
        if frame["type"] != "events":
            sys.exit(f"unexpected: {frame}")
        for offset, row in enumerate(frame["events"]):
            seen[frame["channel"]] = frame["from"] + offset
            print(frame["channel"], frame["from"] + offset, flush=True)
    positions = answer["positions"]
