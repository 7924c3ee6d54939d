"""What a gateway under test is surrounded by: a cloud that misses nothing, devices that note what was acknowledged.

Ports are fixed: each test has a network of its own.
"""

import json
import pathlib
import re
import socket
import subprocess
import sys
import time

TESTS = pathlib.Path(__file__).resolve().parent.parent
CLOUD_PORT = 18830
SETTINGS = 'uplink = [{ name = "cloud", url = "mqtt://127.0.0.1:%d", forward = ["#"] }]' % CLOUD_PORT


class Failed(Exception):
    pass


def check(holds, what):
    if not holds:
        raise Failed(what)
    print("ok   ", what, flush=True)


def wait_for(what, condition, limit_s=30):
    """Polls until the condition holds, and says how long that took."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > limit_s:
            raise Failed(f"{what}: not within {limit_s} s")
        time.sleep(0.05)
    print(f"ok    {what} ({time.monotonic() - start:.1f} s)", flush=True)


class Cloud:
    """A broker with a subscriber that misses nothing: its session outlives the broker's restarts."""

    def __init__(self, folder):
        self.folder = folder / "cloud"
        self.folder.mkdir()
        self.settings = self.folder / "mosquitto.conf"
        self.settings.write_text(
            f"user root\nlistener {CLOUD_PORT} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {self.folder}/\n"
            "max_queued_messages 0\nlog_dest none\n"
        )
        self.broker = self.subscriber = None
        self.start()
        self.received = self.folder / "received"
        command = ["mosquitto_sub", "-p", str(CLOUD_PORT), "-q", "1", "-t", "#", "-c", "-i", "checker", "-F", "%t %p"]
        # Line by line, whatever stdout is.
        self.subscriber = subprocess.Popen(["stdbuf", "-oL"] + command, stdout=open(self.received, "w"), stderr=subprocess.DEVNULL)
        # The subscription is there when a publish comes back.
        wait_for("the cloud has its subscriber", self.echoes)

    def echoes(self):
        command = ["mosquitto_pub", "-p", str(CLOUD_PORT), "-t", "echo", "-m", "echo"]
        subprocess.run(command, stderr=subprocess.DEVNULL)
        return "echo echo" in self.lines()

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", CLOUD_PORT)) == 0

    def start(self):
        self.broker = subprocess.Popen(["mosquitto", "-c", self.settings], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("the cloud listens", self.listens)

    def go_away(self):
        self.broker.terminate()
        self.broker.wait()

    def stop(self):
        for process in (self.subscriber, self.broker):
            if process:
                process.kill()
                process.wait()

    def lines(self):
        return self.received.read_text().splitlines()

    def sequence(self, device):
        """The numbers of the device's events that have come, as often as they came."""
        prefix = f"events/{device} "
        return [json.loads(line[len(prefix) :])["seq"] for line in self.lines() if line.startswith(prefix)]


class Device:
    """Publishes numbered events and notes which were acknowledged."""

    def __init__(self, folder, name, first, end):
        self.name, self.first, self.end = name, first, end
        self.said = folder / f"device-{name}-{first}"
        command = [sys.executable, "-u", TESTS / "devices/publish.py", "--port", "1883", "--name", name, "--version", "5"]
        command += ["--first", str(first), "--end", str(end), "--window", "20"]
        self.process = subprocess.Popen(command, stdout=open(self.said, "w"))

    def acknowledged(self):
        words = self.said.read_text().split()
        return [int(number) for word, number in zip(words[::2], words[1::2]) if word == "acked"]

    def finish(self):
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failed(f"device {self.name} did not finish") from None
        check(len(self.acknowledged()) == self.end - self.first, f"all events of device {self.name} acknowledged")


def all_arrive(cloud, device):
    expected = set(device.acknowledged())
    wait_for(f"{len(expected)} acknowledged events of {device.name} are at the cloud", lambda: expected <= set(cloud.sequence(device.name)))


class Machine:
    """Where a package lives; `say` is how it runs a command, and gives the exit code and the output."""

    def get(self, command):
        return self.say(command)[1].strip()

    def do(self, command):
        """Runs what must succeed."""
        code, said = self.say(command)
        if code:
            raise Failed(f"`{command}` ended with {code}:\n{said}")
        return said.strip()

    def main_pid(self):
        return int(self.get("systemctl show -P MainPID tidegate"))

    def is_active(self):
        return self.get("systemctl is-active tidegate") == "active"


def check_sandbox(machine):
    status = machine.do(f"cat /proc/{machine.main_pid()}/status")
    check(re.search(r"^CapEff:\s+0+$", status, re.M), "no capabilities")
    check(re.search(r"^NoNewPrivs:\s+1$", status, re.M) and re.search(r"^Seccomp:\s+2$", status, re.M), "system calls are filtered")


def survive_kills(machine, cloud, folder, kills, every, limit_s=30):
    """SIGKILL under load, after so many events each time; as many come after the last one."""
    device = Device(folder, "killed", 0, 2 * kills * every)
    for kill in range(kills):
        wait_for(f"{every * (kill + 1)} events acknowledged", lambda: len(device.acknowledged()) >= every * (kill + 1), limit_s)
        pid = machine.main_pid()
        machine.do("systemctl kill -s KILL tidegate")
        wait_for("SIGKILL: started again", lambda: machine.is_active() and machine.main_pid() not in (0, pid), limit_s)
    device.finish()
    all_arrive(cloud, device)
    restarts = machine.get("systemctl show -P NRestarts tidegate")
    check(restarts == str(kills), "as many restarts as kills")
