// The official TypeScript SDKs against servers: lists the tools of each and calls the one that is named.
// Arguments: v1 | v2, then for each server: URL, tool, arguments as JSON. One line of JSON for each.
const [line, ...servers] = process.argv.slice(2);

async function connect(url) {
  if (line === 'v1') {
    const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
    const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
    const client = new Client({ name: 'tests-v1', version: '1.0.0' });
    await client.connect(new StreamableHTTPClientTransport(new URL(url)));
    return client;
  }
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
  const client = new Client({ name: 'tests-v2', version: '1.0.0' }, { versionNegotiation: { mode: 'auto' } });
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  return client;
}

for (let i = 0; i < servers.length; i += 3) {
  const [url, name, args] = servers.slice(i, i + 3);
  const client = await connect(url);
  const { tools } = await client.listTools();
  const { resources } = await client.listResources();
  const { prompts } = await client.listPrompts();
  const result = await client.callTool({ name, arguments: JSON.parse(args) });
  console.log(
    JSON.stringify({
      tools: tools.length,
      resources: resources.length,
      prompts: prompts.length,
      isError: result.isError ?? false,
      structured: result.structuredContent,
    }),
  );
  await client.close();
}
