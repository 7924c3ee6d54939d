"""Boots a Debian root in a container and follows a package through its life there. See `run`.

The container has a network of its own with nothing but loopback. Devices and the cloud (mosquitto) are this machine's programs in
the container's network, so nothing but the package under test is installed in it.
"""

import argparse
import ctypes
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

from stage import CLOUD_PORT, SETTINGS, Cloud, Device, Failed, Machine, all_arrive, check, check_sandbox, survive_kills, wait_for

CLONE_NEWNET = 0x40000000


class Container(Machine):
    """A booted root. Commands run in all its namespaces."""

    def __init__(self, root, log):
        self.shown = []
        self.nspawn = subprocess.Popen(
            ["systemd-nspawn", "-q", "-D", root, "-M", f"tidegate-{os.getpid()}", "--private-network", "--register=no"]
            + ["--keep-unit", "--resolv-conf=off", "--timezone=off", "-b", "--console=pipe"],
            env=dict(os.environ, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="1"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        self.leader = None
        wait_for("the container has begun", self.find_leader)
        wait_for("systemd runs", lambda: self.get("systemctl is-system-running") in ("running", "degraded"))
        namespace = os.open(f"/proc/{self.leader}/ns/net", os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")

    def find_leader(self):
        if self.nspawn.poll() is not None:
            raise Failed(f"systemd-nspawn ended with {self.nspawn.returncode}")
        children = pathlib.Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
        named = [child for child in children if pathlib.Path(f"/proc/{child}/comm").read_text().strip() == "systemd"]
        self.leader = named[0] if named else None
        return self.leader

    def say(self, command):
        inside = ["nsenter", "-t", self.leader, "-m", "-p", "-u", "-i", "-n", "-C", "--", "sh", "-c", "cd /root; " + command]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root"}
        result = subprocess.run(
            inside, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
        )
        return result.returncode, result.stdout

    def do(self, command, show=None):
        """Runs what must succeed. With `show`, it becomes part of the transcript; that may change what is shown."""
        said = super().do(command)
        if show:
            self.shown.append(("#", command, show(said)))
        return said

    def stop(self):
        self.nspawn.send_signal(signal.SIGTERM)
        try:
            self.nspawn.wait(20)
        except subprocess.TimeoutExpired:
            self.nspawn.kill()
            self.nspawn.wait()


def install(container, deb, cloud):
    """The quick start: what an operator types."""
    whole = lambda text: text
    container.do(f"apt install -y ./{deb}", lambda text: "\n".join(re.findall(r"^Setting up tidegate.*", text, re.M)))
    check(container.get("systemctl is-active tidegate") == "inactive", "installed, not started: it has no cloud yet")
    container.do(f"echo {shlex.quote(SETTINGS)} > /etc/tidegate/conf.d/cloud.toml", whole)
    container.do("tidegate check", whole)
    container.do("systemctl enable --now tidegate", whole)
    check(container.is_active(), "enabled and active")
    shown = "--lines=0 --no-pager status tidegate"
    container.do(f"systemctl {shown}", lambda text: "\n".join(line.rstrip() for line in text.splitlines()[:7]))
    publish = ["mosquitto_pub", "-q", "1", "-t", "sensors/press-4/climate", "-m", '{"temp": 31.5}']
    subprocess.run(publish, check=True)
    container.shown.append(("$", shlex.join(publish), ""))
    wait_for("a publish is at the cloud", lambda: 'sensors/press-4/climate {"temp": 31.5}' in cloud.lines())
    container.shown.append(("$", f"mosquitto_sub -p {CLOUD_PORT} -t '#' -v", 'sensors/press-4/climate {"temp": 31.5}'))
    reserve = "stat -c %s /var/lib/tidegate/buffer.reserve"
    wait_for("the buffer's reserve is there", lambda: container.get(reserve) == str(8 << 20))
    container.do("tidegate buffer status", whole)


def look_around(container):
    check(container.get("stat -c %U:%G:%a /etc/tidegate") == "root:tidegate:750", "settings are for the service's eyes only")
    check(container.get("stat -c %U:%G:%a /var/lib/tidegate") == "tidegate:tidegate:700", "so is the buffer")
    check_sandbox(container)
    check(not container.do("dpkg --verify tidegate"), "files are as packaged")
    check("tidegate.toml" in container.get("ls /etc/tidegate"), "settings are there")
    container.do("systemd-analyze security --threshold=15 tidegate")
    print("ok    exposure at most 1.5", flush=True)


def upgrade(container, cloud, folder, deb):
    """With a backlog and a setting of the operator."""
    cloud.go_away()
    device = Device(folder, "upgraded", 0, 1000)
    device.finish()
    container.do("echo '# a line of the operator' >> /etc/tidegate/tidegate.toml")
    pid = container.main_pid()
    container.do(f"apt install -y ./{deb}")
    check(container.is_active() and container.main_pid() != pid, "the new version runs")
    check("a line of the operator" in container.get("tail -1 /etc/tidegate/tidegate.toml"), "an upgrade keeps the settings")
    check(SETTINGS in container.get("cat /etc/tidegate/conf.d/cloud.toml"), "and the folder of settings")
    check(container.get("systemctl is-enabled tidegate") == "enabled", "it is still enabled")
    cloud.start()
    all_arrive(cloud, device)


def remove(container, cloud, folder, deb):
    """With a backlog, which a later installation delivers."""
    cloud.go_away()
    device = Device(folder, "removed", 0, 1000)
    device.finish()
    container.do("apt remove -y tidegate")
    check(container.get("systemctl is-active tidegate") == "inactive", "removed and stopped")
    container.do("test ! -e /usr/bin/tidegate && test -e /var/lib/tidegate/buffer.db && test -e /etc/tidegate/conf.d/cloud.toml")
    print("ok    a removal keeps buffer and settings", flush=True)
    cloud.start()
    container.do(f"apt install -y ./{deb} && systemctl start tidegate")
    all_arrive(cloud, device)


def refuse_mistakes(container):
    pid = container.main_pid()
    container.do("echo 'log.level = \"warn\"' > /etc/tidegate/conf.d/level.toml && systemctl reload tidegate")
    container.do("rm /etc/tidegate/conf.d/level.toml && systemctl reload tidegate")
    container.do("echo 'bufer = 1' > /etc/tidegate/conf.d/mistake.toml")
    check(container.say("systemctl reload tidegate")[0] != 0, "a reload of a wrong setting fails")
    check(container.is_active() and container.main_pid() == pid, "and the gateway goes on as it was")
    container.say("systemctl restart tidegate")
    wait_for("a wrong setting: failed", lambda: container.get("systemctl is-active tidegate") == "failed")
    code = container.get("systemctl show -P ExecMainStatus tidegate")
    check(code == "78", "with exit code 78, and not started again")
    check("bufer" in container.get("journalctl -u tidegate -n 20 --no-pager"), "the journal names the mistake")
    container.do("rm /etc/tidegate/conf.d/mistake.toml && systemctl restart tidegate")


def purge(container):
    container.do("apt purge -y tidegate")
    left = container.get(
        "find / -xdev -iname '*tidegate*' ! -path '/root/*' ! -path '/proc/*' ! -path '/sys/*' ! -path '/run/log/*' ! -path '/var/log/*'"
    )
    check(not left, f"a purge leaves no file {left}")
    check(not container.get("grep -r tidegate /etc/passwd /etc/group /etc/shadow /var/lib/dpkg/status"), "and no user")
    check(container.get("systemctl show -P LoadState tidegate") == "not-found", "and no unit")


def live(container, cloud, folder, first, second):
    install(container, first, cloud)
    look_around(container)
    survive_kills(container, cloud, folder, kills=3, every=1000)
    upgrade(container, cloud, folder, second)
    refuse_mistakes(container)
    remove(container, cloud, folder, second)
    purge(container)


def write_transcript(file, shown):
    """Into a page, between its markers."""
    begin, end = "<!-- transcript: begin -->\n", "<!-- transcript: end -->\n"
    before, rest = file.read_text().split(begin)
    blocks = "\n".join("\n".join(part for part in (f"{prompt} {command}", output.rstrip()) if part) for prompt, command, output in shown)
    file.write_text(before + begin + "```console\n" + blocks + "\n```\n" + end + rest.split(end)[1])


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("debs", type=pathlib.Path, nargs=2)
    parser.add_argument("--transcript", type=pathlib.Path)
    return parser.parse_args()


def main():
    options = arguments()
    root = options.folder / "root"
    for deb in options.debs:
        (root / "root" / deb.name).write_bytes(deb.read_bytes())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    container = cloud = None
    start = time.monotonic()
    try:
        container = Container(root, open(options.folder / "console.log", "w"))
        cloud = Cloud(options.folder)
        live(container, cloud, options.folder, *(deb.name for deb in options.debs))
        if options.transcript:
            write_transcript(options.transcript, container.shown)
        print(f"ok    all of it in {time.monotonic() - start:.0f} s")
    except Failed as failure:
        print("FAILED", failure)
        if container and container.leader:
            print(container.get("journalctl -u tidegate --no-pager -n 40"))
        sys.exit(1)
    finally:
        if cloud:
            cloud.stop()
        if container:
            container.stop()


main()
