// Ask Headrace with kafkajs: produce a query, read its answer.
//
//     headrace up                                  # prints KAFKA_BOOTSTRAP_SERVERS for the next lines
//     cd examples/javascript && npm install && npm start
//
// The whole contract is in docs/contract.md.

const { randomUUID } = require("node:crypto");
const { Kafka, Partitioners, logLevel } = require("kafkajs");

const prefix = process.env.HEADRACE_KAFKA__PREFIX || "headrace.";
const brokers = (process.env.KAFKA_BOOTSTRAP_SERVERS || "127.0.0.1:9092").split(",");
const WAIT_MS = 15_000; // the query's deadline, 6 s in which another executor may take over, and a margin

async function ask(kafka, value, wanted) {
  const topic = prefix + "results";
  const mine = randomUUID();
  const admin = kafka.admin();
  const consumer = kafka.consumer({ groupId: `headrace-example-${mine}` }); // kafkajs cannot read without a group
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
  await Promise.all([admin.connect(), consumer.connect(), producer.connect()]);
  let timer;
  try {
    // 1. Listen before asking. kafkajs looks up the end of a topic only at its first fetch, when the answer may be
    //    there already; so the ends are asked for now and sought.
    const ends = await admin.fetchTopicOffsets(topic);
    await consumer.subscribe({ topic });
    const answer = new Promise((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${WAIT_MS} ms: is a router running?`)), WAIT_MS);
      const eachMessage = async ({ message }) => {
        if (String(message.headers["correlation-id"]) === mine) resolve(message);
      };
      consumer.run({ autoCommit: false, eachMessage }).catch(reject);
    });
    for (const { partition, high } of ends) consumer.seek({ topic, partition, offset: high });

    // 2. Ask. What is wanted stands in headers, the payload is the value, untouched.
    const message = { value, headers: { ...wanted, "correlation-id": mine } };
    await producer.send({ topic: prefix + "queries", messages: [message] });

    // 3. The first answer counts; a later copy of it would say `duplicate: true`.
    return await answer;
  } finally {
    clearTimeout(timer);
    await Promise.all([admin.disconnect(), consumer.disconnect(), producer.disconnect()]);
  }
}

async function main() {
  // A bright bar, as 8 x 8 grey values from 0 to 16, in the Open Inference Protocol: a rather plain "1".
  const bar = Array(8).fill([0, 0, 0, 16, 16, 0, 0, 0]);
  const query = { inputs: [{ name: "digit", shape: [8, 8], datatype: "FP32", data: bar }] };
  const wanted = {
    task: "digit-classification", // or model, or variant
    "slo-ms": "500", // answered by then, or `expired`
    "accuracy-min": "0.95", // by a variant at least as good, or `rejected`
    "content-type": "application/json",
  };
  const kafka = new Kafka({ clientId: "headrace-example", brokers, logLevel: logLevel.ERROR });
  const { headers, value } = await ask(kafka, JSON.stringify(query), wanted);
  console.log(String(headers.outcome));
  console.log(JSON.stringify(JSON.parse(value), null, 2));
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
