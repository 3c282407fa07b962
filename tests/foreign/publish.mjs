// A client that knows nothing of flarecast: publishes a file of JSON data points and waits for the broker.
// node publish.mjs HOST PORT FOLDER_OF_CERTIFICATES TOPIC FILE
import fs from "node:fs";
import mqtt from "mqtt";

const [host, port, folder, topic, file] = process.argv.slice(2);
const client = await mqtt.connectAsync({
  protocol: "mqtts",
  host,
  port: Number(port),
  protocolVersion: 5,
  ca: fs.readFileSync(`${folder}/ca.crt`),
  cert: fs.readFileSync(`${folder}/client.crt`),
  key: fs.readFileSync(`${folder}/client.key`),
});
const answer = await client.publishAsync(topic, fs.readFileSync(file), {
  qos: 1,
  properties: { contentType: "application/json" },
});
console.log(answer?.reasonCode ?? 0);
await client.endAsync();
