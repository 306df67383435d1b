/** A client of the gateway as small as one can be. */
export class Client {
  #session = '';
  #id = 0;

  constructor(
    readonly url: string,
    readonly name: string,
  ) {}

  async ask(method: string, params: unknown = {}): Promise<Record<string, unknown>> {
    const id = ++this.#id;
    const answer = await fetch(this.url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        ...(this.#session ? { 'mcp-session-id': this.#session, 'mcp-protocol-version': '2025-11-25' } : {}),
      },
      body: JSON.stringify({ jsonrpc: '2.0', ...(method.startsWith('notifications/') ? {} : { id }), method, params }),
    });
    this.#session ||= answer.headers.get('mcp-session-id') ?? '';
    const text = await answer.text();
    const line = text.split('\n').find((one) => one.startsWith('data: {'));
    return text ? (JSON.parse(line?.slice(6) ?? text) as Record<string, unknown>) : {};
  }

  async greet(): Promise<void> {
    await this.ask('initialize', {
      protocolVersion: '2025-11-25',
      capabilities: {},
      clientInfo: { name: this.name, version: '1' },
    });
    await this.ask('notifications/initialized');
  }

  echo = (server: string, text: string) => this.ask('tools/call', { name: `${server}__echo`, arguments: { text } });
}
