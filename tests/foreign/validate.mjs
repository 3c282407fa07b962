// Somebody else's FHIR R4 validator: reads resources as JSON, one a line, and says what is wrong with each.
// node validate.mjs < resources.ndjson
import { createRequire } from "node:module";
import readline from "node:readline";

const { Fhir } = createRequire(import.meta.url)("fhir");
const fhir = new Fhir();
for await (const line of readline.createInterface({ input: process.stdin })) {
  const { messages } = fhir.validate(JSON.parse(line), { errorOnUnexpected: true });
  console.log(JSON.stringify(messages.map(({ severity, location, message }) => ({ severity, location, message }))));
}
