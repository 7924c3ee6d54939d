"""Runs the gateway of an unpacked package by an emulator, in a network of its own. See `emulated`."""

import pathlib
import subprocess
import sys
import time

from stage import SETTINGS, Cloud, Device, Failed, all_arrive, check, wait_for


class Gateway:
    def __init__(self, folder, emulator):
        self.command = [emulator, folder / "root/usr/bin/tidegate"]
        settings = folder / "root/etc/tidegate"
        self.main = settings / "tidegate.toml"
        self.main.write_text(self.main.read_text().replace("/var/lib/tidegate", str(folder / "buffer")))
        (settings / "conf.d/cloud.toml").write_text(SETTINGS)
        self.log = folder / "log"
        self.process = None

    def say(self, *arguments):
        return subprocess.run([*self.command, *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout

    def start(self):
        self.log.write_text("")
        self.process = subprocess.Popen([*self.command, "run", "--config", self.main], stderr=open(self.log, "a"))
        wait_for("ready", lambda: "ready" in self.log.read_text())

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        check(self.process.wait(30) == 0, "SIGTERM: stopped as told")


def live(gateway, cloud, folder):
    check(gateway.say("--version").startswith("tidegate "), "it says its version")
    check("no mistakes" in gateway.say("check", "--config", gateway.main), "the installed settings are valid")
    gateway.start()
    device = Device(folder, "killed", 0, 2000)
    wait_for("500 events acknowledged", lambda: len(device.acknowledged()) >= 500, 60)
    gateway.kill()
    gateway.start()
    device.finish()
    all_arrive(cloud, device)
    cloud.go_away()
    device = Device(folder, "stored", 0, 500)
    device.finish()
    check("500" in gateway.say("buffer", "--config", gateway.main, "status"), "500 events wait in the buffer")
    cloud.start()
    all_arrive(cloud, device)
    gateway.stop()


def main():
    folder, emulator = pathlib.Path(sys.argv[1]), sys.argv[2]
    gateway, cloud = Gateway(folder, emulator), Cloud(folder)
    began = time.monotonic()
    try:
        live(gateway, cloud, folder)
        print(f"ok    all of it in {time.monotonic() - began:.0f} s")
    except Failed as failure:
        print("FAILED", failure)
        print(gateway.log.read_text())
        sys.exit(1)
    finally:
        cloud.stop()
        if gateway.process and gateway.process.poll() is None:
            gateway.kill()


main()
