// The official TypeScript SDKs through the gateway to a server that asks its client back: sampling, elicitation, roots,
// progress, and a call that is cancelled. Arguments: v1 | v2, URL, prefix of the tools. One line of JSON.
const [line, url, prefix] = process.argv.slice(2);
const info = { name: `round-trips-${line}`, version: '1.0.0' };
const capabilities = { sampling: {}, elicitation: { form: {} }, roots: {} };
const asked = [];
const answers = {
  sampling: (request) => {
    asked.push('sampling');
    return {
      model: 'by hand',
      role: 'assistant',
      content: { type: 'text', text: `heard: ${request.params.messages[0].content.text}` },
    };
  },
  elicitation: () => {
    asked.push('elicitation');
    return { action: 'accept', content: { name: 'Grace' } };
  },
  roots: () => {
    asked.push('roots');
    return { roots: [{ uri: 'file:///harbour', name: 'harbour' }] };
  },
};

async function connect() {
  if (line === 'v1') {
    const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
    const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
    const types = await import('@modelcontextprotocol/sdk/types.js');
    const client = new Client(info, { capabilities });
    client.setRequestHandler(types.CreateMessageRequestSchema, answers.sampling);
    client.setRequestHandler(types.ElicitRequestSchema, answers.elicitation);
    client.setRequestHandler(types.ListRootsRequestSchema, answers.roots);
    await client.connect(new StreamableHTTPClientTransport(new URL(url)));
    return client;
  }
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
  const client = new Client(info, { capabilities, versionNegotiation: { mode: 'auto' } });
  client.setRequestHandler('sampling/createMessage', answers.sampling);
  client.setRequestHandler('elicitation/create', answers.elicitation);
  client.setRequestHandler('roots/list', answers.roots);
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  return client;
}

const client = await connect();
const call = (name, args, options) =>
  line === 'v1'
    ? client.callTool({ name: prefix + name, arguments: args }, undefined, options)
    : client.callTool({ name: prefix + name, arguments: args }, options);
const text = (result) => result.content.map((part) => part.text).join('\n');

const { tools } = await client.listTools();
const said = {};
const attempt = async (name, args) => {
  try {
    said[name] = text(await call(name, args));
  } catch (error) {
    said[name] = `${error.code}: ${error.message}`;
  }
};
await attempt('trigger-sampling-request', { prompt: 'ahoy' });
await attempt('trigger-elicitation-request', {});
await attempt('get-roots-list', {});

let progress = 0;
await call('trigger-long-running-operation', { duration: 0.3, steps: 3 }, { onprogress: () => (progress += 1) });
const gone = new AbortController();
const begun = Date.now();
const cancelled = await call(
  'trigger-long-running-operation',
  { duration: 60, steps: 60 },
  { signal: gone.signal, onprogress: () => gone.abort('enough') },
).then(
  () => 'it answered',
  () => (Date.now() - begun < 30_000 ? 'cancelled' : 'late'),
);
const after = text(await call('echo', { message: 'still here' }));
console.log(JSON.stringify({ tools: tools.map((tool) => tool.name), asked, said, progress, cancelled, after }));
await client.close();
process.exit(0);
