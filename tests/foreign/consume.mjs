// The usual way, for comparison: one JSON object per sample, into a Parquet file at the end.
// node consume.mjs PORT SESSION COUNT FILE
import fs from "node:fs";
import mqtt from "mqtt";
import { parquetWriteBuffer } from "hyparquet-writer";

const [port, session, count, file] = process.argv.slice(2);
const columns = { device: [], time: [], rr_ms: [] };
const client = mqtt.connect({
  host: "127.0.0.1",
  port: Number(port),
  protocolVersion: 5,
  clientId: session,
  clean: false,
  properties: { receiveMaximum: 65535, sessionExpiryInterval: 3600 },
});
client.on("message", (_, payload) => {
  const sample = JSON.parse(payload);
  columns.device.push(sample.device);
  columns.time.push(new Date(sample.time));
  columns.rr_ms.push(sample.rr_ms);
  if (columns.rr_ms.length < Number(count)) return;
  const columnData = [
    { name: "device", data: columns.device, type: "STRING" },
    { name: "time", data: columns.time, type: "TIMESTAMP" },
    { name: "rr_ms", data: columns.rr_ms, type: "INT32" },
  ];
  const stream = fs.openSync(file, "w");
  fs.writeSync(stream, new Uint8Array(parquetWriteBuffer({ columnData })));
  fs.fsyncSync(stream);
  client.end();
});
