"""The windows of rules beside Apache Flink's, over the same random events: `tests/flink/run` calls it.

    compare.py generate DIR EVENTS SEED     the events, as a capture for `tidegate rules replay` and as CSV for Flink
    compare.py flink DIR                    Flink's windows, as CSV lines in DIR/flink.csv
    compare.py judge DIR                    what one has and the other has not; the exit code is 1 if there is any

The events come out of order by less than the rules wait for (their `lateness`), so none is late; what is late is another matter in Flink.
"""

import csv
import datetime
import json
import pathlib
import random
import sys

DISORDER_MS = 5_000
DEVICES = 7
# Name, window in our language, and in Flink's (a table function).
WINDOWS = {
    "tumbling": ("tumbling('10s')", "TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND)"),
    "offset": ("tumbling('10s', '3s')", "TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '3' SECOND)"),
    "hopping": ("hopping('12s', '4s')", "HOP(TABLE events, DESCRIPTOR(ts), INTERVAL '4' SECOND, INTERVAL '12' SECOND)"),
    "session": ("session('2s')", "SESSION(TABLE events PARTITION BY d, DESCRIPTOR(ts), INTERVAL '2' SECOND)"),
}
COLUMNS = ["window", "device", "start_ms", "end_ms", "n", "sum", "min", "max", "avg"]


def generate(folder, events, seed):
    chance = random.Random(seed)
    start = 1_700_000_000_000
    time, rows = start, []
    for number in range(events):
        # Bursts, and pauses that end sessions.
        time += chance.choice([0, 1, 37, 150, 400]) if chance.random() < 0.97 else chance.randrange(500, 9_000)
        stamp = time - chance.randrange(DISORDER_MS) if chance.random() < 0.3 else time
        rows.append((number, f"d{chance.randrange(DEVICES)}", stamp, chance.randrange(-1_000, 1_000), time))
    with open(folder / "events.csv", "w", newline="") as file:
        csv.writer(file).writerows((device, stamp, value) for _, device, stamp, value, _ in rows)
    with open(folder / "capture.jsonl", "w") as file:
        for number, device, stamp, value, arrived in rows:
            at = datetime.datetime.fromtimestamp(arrived / 1000, datetime.timezone.utc)
            payload = json.dumps({"d": device, "v": value, "ts": stamp})
            line = {
                "stage": "in", "time": at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{arrived % 1000:03}Z", "seq": number + 1,
                "client_id": "c", "topic": f"in/{device}", "qos": 1, "retain": False, "payload": payload,
            }
            file.write(json.dumps(line) + "\n")
    write_rules(folder)


def write_rules(folder):
    (folder / "rules.d").mkdir(exist_ok=True)
    (folder / "tidegate.toml").write_text(
        '[gateway]\nid = "g"\n[access]\nanonymous = true\n[buffer]\ndir = "buffer"\n'
        '[[uplink]]\nname = "cloud"\nurl = "mqtt://127.0.0.1:1"\nforward = []\n'
    )
    text = ""
    for name, (ours, _) in WINDOWS.items():
        text += f'''
[[rule]]
name = "{name}"
sql = """
  SELECT d, window_start() AS start_ms, window_end() AS end_ms, count(*) AS n, sum(v) AS sum, min(v) AS min,
    max(v) AS max, avg(v) AS avg
  FROM "in/+" GROUP BY d, {ours}
"""
time = {{ field = "ts", unit = "ms", lateness = "{DISORDER_MS}ms", idle = "1h", ahead = "1d" }}
to = {{ uplink = "cloud", topic = "{name}" }}
'''
    (folder / "rules.d" / "windows.toml").write_text(text)


def flink(folder):
    from pyflink.table import EnvironmentSettings, TableEnvironment

    # As a stream, since sessions are a table function only there; it ends with the file, and so do all windows.
    tables = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    tables.get_config().set("parallelism.default", "1")
    tables.get_config().set("table.local-time-zone", "UTC")
    tables.execute_sql(f"""
        CREATE TABLE events (d STRING, ms BIGINT, v BIGINT, ts AS TO_TIMESTAMP_LTZ(ms, 3),
            WATERMARK FOR ts AS ts - INTERVAL '{DISORDER_MS // 1000}' SECOND)
        WITH ('connector' = 'filesystem', 'path' = 'file://{folder}/events.csv', 'format' = 'csv')""")
    aggregates = "COUNT(*), SUM(v), MIN(v), MAX(v), AVG(CAST(v AS DOUBLE))"
    with open(folder / "flink.csv", "w", newline="") as file:
        out = csv.writer(file)
        for name, (_, window) in WINDOWS.items():
            sql = f"SELECT d, window_start, window_end, {aggregates} FROM TABLE({window}) GROUP BY d, window_start, window_end"
            for device, start, end, *values in tables.execute_sql(sql).collect():
                out.writerow([name, device, milliseconds(start), milliseconds(end), *values])


def milliseconds(time):
    if isinstance(time, datetime.datetime):
        time = time.replace(tzinfo=datetime.timezone.utc) if time.tzinfo is None else time
        return round(time.timestamp() * 1000)
    return round(time.to_epoch_milli())


def judge(folder):
    ours, theirs = {}, {}
    with open(folder / "tidegate.jsonl") as file:
        for line in map(json.loads, file):
            row = json.loads(line["payload"])
            put(ours, [line["rule"], row["d"], *(row[column] for column in COLUMNS[2:])])
    with open(folder / "flink.csv", newline="") as file:
        for row in csv.reader(file):
            put(theirs, [row[0], row[1], *map(int, row[2:8]), float(row[8])])
    different = 0
    for name in sorted({key[0] for key in ours | theirs}):
        mine = {key: value for key, value in ours.items() if key[0] == name}
        other = {key: value for key, value in theirs.items() if key[0] == name}
        if name == "session":
            joined = join_touching(mine)
            print(f"session: {len(mine) - len(joined)} begin exactly where another ends, and are one with it in Flink")
            mine = joined
        wrong = [key for key in mine.keys() | other.keys() if not same(mine.get(key), other.get(key))]
        different += len(wrong)
        print(f"{name}: {len(mine)} windows, {len(other)} of Flink, {len(wrong)} different")
        for key in sorted(wrong)[:5]:
            print(f"  {key}: {mine.get(key)} and {other.get(key)}")
    sys.exit(1 if different or not ours else 0)


def join_touching(sessions):
    """An event exactly `gap` after the last one begins a session here ("no event for the gap" has come true), and still joins in Flink."""
    joined, last = {}, None
    for key in sorted(sessions):
        name, device, start, end = key
        value = sessions[key]
        if last is not None and last[1] == device and last[3] == start:
            before = joined.pop(last)
            n, total = before[0] + value[0], before[1] + value[1]
            value = [n, total, min(before[2], value[2]), max(before[3], value[3]), total / n]
            key = (name, device, last[2], end)
        joined[key], last = value, key
    return joined


def put(rows, row):
    key, value = tuple(row[:4]), row[4:]
    if key in rows:
        sys.exit(f"twice: {key}")
    rows[key] = value


def same(one, other):
    return one is not None and other is not None and one[:4] == other[:4] and abs(one[4] - other[4]) < 1e-9


if __name__ == "__main__":
    command, folder = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    if command == "generate":
        generate(folder, int(sys.argv[3]), int(sys.argv[4]))
    else:
        {"flink": flink, "judge": judge}[command](folder)
