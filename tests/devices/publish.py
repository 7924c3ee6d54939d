"""A device: publishes numbered events with QoS 1 through paho-mqtt and never gives up.

Writes `acked N` for each acknowledged event and `resent N` for each event that was in flight when a connection ended.
"""

import argparse
import sys
import threading

import paho.mqtt.client as mqtt

EVENT_BYTES = 200


def payload(device, seq):
    head = '{"device":"%s","seq":%d,"pad":"' % (device, seq)
    return head + chr(ord("a") + seq % 26) * (EVENT_BYTES - 2 - len(head)) + '"}'


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", choices=["3.1.1", "5"], required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--end", type=int, required=True)
    parser.add_argument("--window", type=int, required=True)
    return parser.parse_args()


class Device:
    def __init__(self, options):
        self.options = options
        self.changed = threading.Condition()
        self.in_flight = {}  # packet id -> number
        self.early = set()  # packet ids acknowledged before publish() had given them to us
        if options.version == "5":
            self.client = mqtt.Client(options.name, protocol=mqtt.MQTTv5)
        else:
            self.client = mqtt.Client(options.name, clean_session=False, protocol=mqtt.MQTTv311)
        self.client.max_inflight_messages_set(options.window)
        self.client.max_queued_messages_set(0)
        self.client.reconnect_delay_set(0.05, 0.2)
        self.client.on_publish = self.on_publish
        self.client.on_disconnect = self.on_disconnect

    def on_publish(self, _client, _userdata, packet_id):
        with self.changed:
            if packet_id in self.in_flight:
                print("acked", self.in_flight.pop(packet_id))
                self.changed.notify()
            else:
                self.early.add(packet_id)

    def on_disconnect(self, _client, _userdata, *_reason):
        with self.changed:
            for seq in self.in_flight.values():
                print("resent", seq)

    def publish(self, seq):
        # Not under the lock: paho holds its own when it calls on_publish.
        info = self.client.publish("events/" + self.options.name, payload(self.options.name, seq), qos=1)
        with self.changed:
            if info.mid in self.early:
                self.early.remove(info.mid)
                print("acked", seq)
            else:
                self.in_flight[info.mid] = seq

    def run(self):
        options = self.options
        self.client.connect_async("127.0.0.1", options.port, keepalive=30)
        self.client.loop_start()
        for seq in range(options.first, options.end):
            with self.changed:
                self.changed.wait_for(lambda: len(self.in_flight) < options.window)
            self.publish(seq)
        with self.changed:
            self.changed.wait_for(lambda: not self.in_flight)
        self.client.disconnect()
        self.client.loop_stop()


if __name__ == "__main__":
    Device(arguments()).run()
    sys.exit(0)
