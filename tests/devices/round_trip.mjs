// Takes MQTT.js once there and back over WebSocket: subscribes, publishes with QoS 1, waits for its own event.
// Arguments: URL, protocol version (4 or 5), and for wss a file of the authority.

import { readFileSync } from "node:fs";
import mqtt from "mqtt";

const [url, version, ca] = process.argv.slice(2);
const options = { protocolVersion: Number(version), reconnectPeriod: 0, connectTimeout: 10000 };
if (ca) options.ca = readFileSync(ca);
const client = await mqtt.connectAsync(url, options);
const arrived = new Promise((resolve) => client.on("message", (topic, payload) => resolve(payload.toString())));
await client.subscribeAsync("round/trip", { qos: 1 });
await client.publishAsync("round/trip", "hello", { qos: 1 });
const late = new Promise((_, reject) => setTimeout(() => reject(new Error("nothing came back")), 10000));
if ((await Promise.race([arrived, late])) !== "hello") throw new Error("another payload");
await client.endAsync();
process.exit(0);
