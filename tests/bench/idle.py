"""Opens COUNT connections to PORT of 127.0.0.1, by TLS if there is a CA file, says `idle` when each has its CONNACK, and holds them
until its input ends.

    idle.py PORT COUNT [CA]
"""

import socket
import ssl
import sys


def connect(port, number, context):
    stream = socket.create_connection(("127.0.0.1", port))
    if context:
        stream = context.wrap_socket(stream, server_hostname="localhost")
    client_id = f"idle-{number:06}".encode()
    body = b"\0\4MQTT\4\2\0\0" + len(client_id).to_bytes(2, "big") + client_id
    stream.sendall(bytes([0x10, len(body)]) + body)
    connack = b""
    while len(connack) < 4:
        part = stream.recv(4 - len(connack))
        assert part, "closed before CONNACK"
        connack += part
    assert connack == b"\x20\2\0\0", connack
    return stream


port, count = int(sys.argv[1]), int(sys.argv[2])
context = ssl.create_default_context(cafile=sys.argv[3]) if len(sys.argv) > 3 else None
streams = [connect(port, number, context) for number in range(count)]
print("idle", flush=True)
sys.stdin.read()
