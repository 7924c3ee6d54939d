"""Takes paho-mqtt once there and back: subscribes, publishes with QoS 1, waits for its own event. Exits with 0 if it came."""

import argparse
import ssl
import sys
import threading

import paho.mqtt.client as mqtt


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--version", choices=["3.1.1", "5"], required=True)
    parser.add_argument("--transport", choices=["tcp", "websockets"], default="tcp")
    parser.add_argument("--topic", default="round/trip")
    parser.add_argument("--username")
    parser.add_argument("--password")
    parser.add_argument("--ca")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--bytes", type=int, default=10)
    return parser.parse_args()


def main():
    options = arguments()
    version = mqtt.MQTTv5 if options.version == "5" else mqtt.MQTTv311
    client = mqtt.Client("round-trip", protocol=version, transport=options.transport)
    if options.username:
        client.username_pw_set(options.username, options.password)
    if options.ca:
        client.tls_set(options.ca, options.cert, options.key, cert_reqs=ssl.CERT_REQUIRED)
    payload = b"x" * options.bytes
    arrived, published, failed = threading.Event(), threading.Event(), []

    def on_connect(client, _userdata, _flags, code, *_properties):
        if code == 0:
            client.subscribe(options.topic, qos=1)
        else:
            failed.append("connect: %s" % code)
            arrived.set()

    def on_subscribe(client, _userdata, _mid, codes, *_properties):
        granted = getattr(codes[0], "value", codes[0])
        if granted >= 0x80:
            failed.append("subscribe: %s" % granted)
            arrived.set()
        else:
            client.publish(options.topic, payload, qos=1)

    def on_message(_client, _userdata, message):
        if message.payload != payload:
            failed.append("another payload")
        arrived.set()

    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    client.on_publish = lambda *_: published.set()
    client.connect("127.0.0.1", options.port, keepalive=30)
    client.loop_start()
    came = arrived.wait(10) and (failed or published.wait(10))
    client.disconnect()
    client.loop_stop()
    if failed or not came:
        sys.exit("%s" % (failed or "nothing came back"))


if __name__ == "__main__":
    main()
