"""Boots an emulated ARM board and follows a package through its life there. See `board`.

Devices and the cloud are this machine's programs: the emulator passes what comes to port 1883 to the board, and the board reaches
this machine's loopback as GATEWAY.
"""

import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

from stage import CLOUD_PORT, Cloud, Device, Failed, Machine, all_arrive, check, check_sandbox, survive_kills, wait_for

GATEWAY = "10.0.2.2"
BOOT_LIMIT_S = 600
SETTINGS = f'uplink = [{{ name = "cloud", url = "mqtt://{GATEWAY}:{CLOUD_PORT}", forward = ["#"] }}]'


class Board(Machine):
    """An emulator with a disk of its own, which outlives it. Commands go through a port that it gives the board."""

    def __init__(self, folder, image):
        self.folder, self.image = folder, image
        self.disk, self.console, self.port = folder / "disk.qcow2", folder / "console", folder / "port"
        base = ["-F", "raw", "-b", image / "root.img"]
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *base, self.disk], check=True)
        self.emulator = self.channel = None

    def start(self):
        self.emulator = subprocess.Popen(
            ["qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "512", "-no-reboot"]
            + ["-display", "none", "-monitor", "none", "-serial", f"file:{self.console}"]
            + ["-kernel", self.image / "linux", "-initrd", self.image / "initrd", "-append", "console=ttyAMA0 quiet panic=1"]
            + ["-drive", f"file={self.disk},if=virtio,cache=none,aio=threads"]
            + ["-drive", f"file={self.folder / 'files.tar'},if=virtio,format=raw,readonly=on"]
            + ["-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:1883-:1883", "-device", "virtio-net-pci,netdev=net,romfile="]
            + ["-device", "virtio-serial-pci", "-chardev", f"socket,id=port,path={self.port},server=on,wait=off"]
            + ["-device", "virtserialport,chardev=port,name=board"],
            stdin=subprocess.DEVNULL,
        )
        wait_for("the emulator runs", self.connect)
        check(self.say("true", BOOT_LIMIT_S) == (0, ""), "the board has started")
        wait_for("its network is up", lambda: "10.0.2.15" in self.get("networkctl status"), 60)

    def connect(self):
        self.channel = socket.socket(socket.AF_UNIX)
        return self.channel.connect_ex(str(self.port)) == 0

    def say(self, command, limit_s=300):
        """The exit code of a command, and its output."""
        self.channel.settimeout(limit_s)
        said = b""
        try:
            self.channel.sendall(command.encode() + b"\n")
            while not (end := re.search(rb"\nexit (\d+)\n\Z", said)):
                got = self.channel.recv(65536)
                if not got:
                    raise Failed(f"`{command}`: the board has ended")
                said += got
        except TimeoutError:
            raise Failed(f"`{command}`: not within {limit_s} s") from None
        return int(end[1]), said[: end.start()].decode().strip()

    def cut(self):
        """SIGKILL of the emulator. What the board had not written to its disk is lost."""
        self.emulator.kill()
        self.emulator.wait()

    def power_off(self):
        self.channel.sendall(b"systemctl --no-block poweroff\n")
        wait_for("the board has stopped", lambda: self.emulator.poll() is not None, 120)


def install(board, deb):
    board.do("tar -xf /dev/vdb")
    board.do(f"dpkg -i ./{deb}")
    check("aarch64" in board.do("uname -m") and board.do("tidegate --version"), "installed on a machine of the architecture")
    board.do(f"echo '{SETTINGS}' > /etc/tidegate/conf.d/cloud.toml")
    board.do("sed -i 's/^bind = .*/bind = \"0.0.0.0:1883\"/' /etc/tidegate/tidegate.toml")
    check("no mistakes" in board.do("tidegate check"), "the settings are valid")
    board.do("systemctl enable --now tidegate")
    check(board.is_active(), "enabled and active")
    check_sandbox(board)


def survive_power_cut(board, cloud, folder):
    """While the cloud is away, so that what is acknowledged is on the board's disk and nowhere else."""
    cloud.go_away()
    device = Device(folder, "cut", 0, 1000)
    device.finish()
    board.cut()
    print("ok    power cut", flush=True)
    board.start()
    wait_for("the gateway is up by itself", lambda: board.is_active(), 120)
    check("  1,000  " in board.do("tidegate buffer status"), "1,000 events wait in the buffer")
    cloud.start()
    all_arrive(cloud, device)


def live(board, cloud, folder, deb):
    board.start()
    install(board, deb)
    survive_kills(board, cloud, folder, kills=2, every=500, limit_s=60)
    survive_power_cut(board, cloud, folder)
    memory = re.search(r"^VmRSS:\s+(\d+) kB$", board.do(f"cat /proc/{board.main_pid()}/status"), re.M)
    print(f"      resident memory of the gateway: {int(memory[1]) / 1024:.1f} MiB", flush=True)
    print("     ", board.get("systemd-analyze time").splitlines()[0], flush=True)
    board.power_off()


def main():
    folder, image, deb = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    board = cloud = None
    begun = time.monotonic()
    try:
        board = Board(folder, image)
        cloud = Cloud(folder)
        live(board, cloud, folder, deb)
        print(f"ok    all of it in {time.monotonic() - begun:.0f} s")
    except Failed as failure:
        print("FAILED", failure)
        if board and board.console.exists():
            print(*board.console.read_text(errors="replace").splitlines()[-40:], sep="\n")
        sys.exit(1)
    finally:
        if cloud:
            cloud.stop()
        if board and board.emulator and board.emulator.poll() is None:
            board.cut()


main()
