// The official openai SDK for Node, told what to do by the first argument: {place: {url, key}, broken: {name: model}}.
// Prints one JSON object: what became of each story, its name -> {value} or {error}.
import OpenAI from "openai";

const { places, broken } = JSON.parse(process.argv[2]);
const WEATHER = {
  type: "function",
  name: "get_weather",
  strict: false,
  parameters: { type: "object", properties: { city: { type: "string" } } },
};

const textOf = (response) => response.output.at(-1).content[0].text;

async function every(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

const stories = {
  async plain(client) {
    const answer = await client.responses.create({ model: "gpt-4.1", input: "你好啊" });
    return { text: answer.output_text, tokens: answer.usage.total_tokens, request: Boolean(answer._request_id) };
  },
  async streamed(client) {
    const events = await every(await client.responses.create({ model: "gpt-4.1", input: "你好啊", stream: true }));
    const deltas = events.filter((event) => event.type === "response.output_text.delta");
    return { text: deltas.map((event) => event.delta).join(""), last: events.at(-1).type };
  },
  async helper(client) {
    const final = await client.responses.stream({ model: "gpt-4.1", input: "Hello" }).finalResponse();
    return { text: final.output_text, status: final.status };
  },
  async tools(client) {
    const asked = [{ role: "user", content: "Weather?" }];
    const fields = { model: "sim-tool", tools: [WEATHER], store: false };
    const first = await client.responses.create({ ...fields, input: asked });
    const call = first.output.at(-1);
    const told = { type: "function_call_output", call_id: call.call_id, output: "21 degrees" };
    const second = await client.responses.create({ ...fields, input: [...asked, ...first.output, told] });
    return { name: call.name, text: second.output_text };
  },
  async streamedTools(client) {
    const fields = { model: "sim-tool", tools: [WEATHER] };
    const first = await client.responses.stream({ ...fields, input: "Weather?" }).finalResponse();
    const told = { type: "function_call_output", call_id: first.output.at(-1).call_id, output: "fog" };
    const more = { ...fields, input: [told], previous_response_id: first.id };
    const second = await client.responses.stream(more).finalResponse();
    return { text: second.output_text };
  },
  async stored(client) {
    const made = await client.responses.create({ model: "gpt-4.1", input: "Hello" });
    const shown = await client.responses.retrieve(made.id);
    const items = await every(await client.responses.inputItems.list(made.id));
    await client.responses.delete(made.id);
    const gone = await client.responses.retrieve(made.id).catch((error) => error);
    return { shown: shown.id === made.id, text: textOf(shown), items: items.length, gone: gone.status };
  },
  async counted(client) {
    const counted = await client.responses.inputTokens.count({ model: "gpt-4.1", input: "Hello there" });
    return { tokens: counted.input_tokens };
  },
  async compacted(client) {
    const compacted = await client.responses.compact({ model: "gpt-4.1", input: "Hello there" });
    const input = [...compacted.output, { role: "user", content: "Go on" }];
    return { text: (await client.responses.create({ model: "gpt-4.1", input })).output_text };
  },
  async cancelled(client) {
    const made = await client.responses.create({ model: "gpt-4.1", input: "Hello" });
    return await client.responses.cancel(made.id);
  },
  async models(client) {
    const names = (await every(await client.models.list())).map((model) => model.id);
    return { listed: names.includes("o3-pro"), shown: (await client.models.retrieve("gpt-4.1")).id };
  },
  async beta(client) {
    const made = await client.beta.responses.create({ model: "gpt-4.1", input: "Hello" });
    return { text: textOf(made), shown: (await client.beta.responses.retrieve(made.id)).id === made.id };
  },
  unknownModel: (client) => client.responses.create({ model: "nonesuch", input: "hi" }),
  unknownResponse: (client) => client.responses.retrieve("resp_nobodys"),
  badParameter: (client) => client.responses.create({ model: "gpt-4.1", input: "hi", temperature: -1 }),
  wrongKey: (client) => client.withOptions({ apiKey: "sk-wrong" }).models.list(),
  overloaded: (client) => client.responses.create({ model: "sim-ratelimited-1", input: "hi" }),
  failing: (client) => client.responses.create({ model: "sim-status-500", input: "hi" }),
};

// What a stream's reader is left with: the kinds of events it saw, and the error if one was thrown.
async function readBroken(client, model) {
  const kinds = [];
  try {
    const stream = await client.responses.create({ model, input: "hi", stream: true });
    for await (const event of stream) kinds.push(event.type);
    return { kinds };
  } catch (error) {
    return { kinds, error: error.constructor.name };
  }
}

async function helperBroken(client, model) {
  const final = await client.responses.stream({ model, input: "hi" }).finalResponse();
  return { status: final.status };
}

for (const [name, model] of Object.entries(broken)) {
  stories[`read ${name}`] = (client) => readBroken(client, model);
  stories[`helped ${name}`] = (client) => helperBroken(client, model);
}

// Each story has a client of its own, with the two retries that the SDK has by itself, and counts its requests.
async function told(story, { url, key }) {
  const client = new OpenAI({ baseURL: url, apiKey: key, fetch: counting });
  let requests = 0;
  function counting(...asked) {
    requests += 1;
    return fetch(...asked);
  }
  try {
    return { value: await story(client), requests };
  } catch (error) {
    const { status, code, param } = error;
    return { error: { name: error.constructor.name, status, code, param }, requests };
  }
}

const results = {};
for (const [place, address] of Object.entries(places)) {
  const chosen = address.only ? address.only.map((name) => [name, stories[name]]) : Object.entries(stories);
  const entries = chosen.map(async ([name, story]) => [name, await told(story, address)]);
  results[place] = Object.fromEntries(await Promise.all(entries));
}
console.log(JSON.stringify(results));
