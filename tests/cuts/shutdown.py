"""Cuts the power of a mounted ext4 at a moment of the caller's choice.

    shutdown.py MOUNTPOINT

Says `armed`, waits for a line of standard input, cuts, says `cut`. From then on the file system answers EIO, and what it had
not written to its device is lost, its own journal included.
"""

import fcntl
import os
import struct
import sys

EXT4_IOC_SHUTDOWN = 0x8004587D
NOLOGFLUSH = 2

mountpoint = os.open(sys.argv[1], os.O_RDONLY)
print("armed")
sys.stdin.readline()
fcntl.ioctl(mountpoint, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
print("cut")
