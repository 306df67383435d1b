/** Channels as forms: texts that become a channel, and back. */
import type { ChannelSpec, Credential, Severity, SmtpTls } from '$lib/contract';
import { spanOf, spanText } from './rules';

export type Kind = ChannelSpec['kind'];
export type From = 'none' | Credential['from'];

/** A credential in its fields: where it is kept, and under which name. */
export interface CredentialDraft {
  from: From;
  name: string;
}

/** What stands in the fields of all kinds; those of other kinds stay as they are when the kind is changed. */
export interface ChannelDraft {
  name: string;
  kind: Kind;
  severity: Severity;
  resolved: boolean;
  url: string;
  secret: CredentialDraft;
  /** A word on each line. */
  command: string;
  timeout: string;
  host: string;
  port: string;
  tls: SmtpTls;
  ca: string;
  user: string;
  password: CredentialDraft;
  from: string;
  /** An address on each line. */
  to: string;
}

export const KINDS: readonly { value: Kind; label: string; note: string }[] = [
  { value: 'webhook', label: 'webhook', note: 'a POST of JSON' },
  { value: 'alertmanager', label: 'alertmanager', note: 'its API, version 2' },
  { value: 'smtp', label: 'smtp', note: 'e-mail' },
  { value: 'exec', label: 'exec', note: 'a program' },
  { value: 'desktop', label: 'desktop', note: 'a notification here' },
];

export const PORTS: Readonly<Record<SmtpTls, number>> = { starttls: 587, tls: 465, none: 25 };
const TIMEOUT_MS = 10_000;

const NO_CREDENTIAL: CredentialDraft = { from: 'none', name: '' };

const credentialOf = (credential: Credential | undefined): CredentialDraft =>
  credential === undefined
    ? { ...NO_CREDENTIAL }
    : { from: credential.from, name: credential.from === 'file' ? '' : credential.name };

/** The fields of a channel, or of a new one. */
export function draftOf(channel?: ChannelSpec): ChannelDraft {
  const draft: ChannelDraft = {
    name: channel?.name ?? '',
    kind: channel?.kind ?? 'webhook',
    severity: channel?.severity ?? 'info',
    resolved: channel?.resolved ?? true,
    url: '',
    secret: { ...NO_CREDENTIAL },
    command: '',
    timeout: '',
    host: '',
    port: '',
    tls: 'starttls',
    ca: '',
    user: '',
    password: { ...NO_CREDENTIAL },
    from: '',
    to: '',
  };
  switch (channel?.kind) {
    case 'webhook':
      return { ...draft, url: channel.url, secret: credentialOf(channel.secret) };
    case 'alertmanager':
      return { ...draft, url: channel.url };
    case 'exec': {
      const timeout = channel.timeout_ms === TIMEOUT_MS ? '' : spanText(channel.timeout_ms);
      return { ...draft, command: channel.command.join('\n'), timeout };
    }
    case 'smtp':
      return {
        ...draft,
        host: channel.host,
        port: channel.port === PORTS[channel.tls] ? '' : String(channel.port),
        tls: channel.tls,
        ca: channel.ca ?? '',
        user: channel.login?.user ?? '',
        password: credentialOf(channel.login?.password),
        from: channel.from,
        to: channel.to.join('\n'),
      };
    default:
      return draft;
  }
}

export type Wrong = Partial<Record<keyof ChannelDraft, string>>;

const IS_NAME = /^[A-Za-z0-9_-]{1,64}$/;
const IS_SECRET = /^[A-Za-z0-9_.\-/]{1,128}$/;
const IS_VARIABLE = /^[A-Za-z_]\w{0,127}$/;
const IS_MAILBOX = /^(?:[^<>"@]*<)?[^\s<>"@]+@[^\s<>"@]+>?$/;

const linesOf = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');

/** The channel that the fields say, or what is wrong with them; the engine says the rest. */
export function channelOf(draft: ChannelDraft): { channel: ChannelSpec } | { wrong: Wrong } {
  const wrong: Wrong = {};
  const name = draft.name.trim();
  if (!IS_NAME.test(name)) wrong.name = 'Up to 64 letters, digits, hyphens and underscores';
  const needed = (key: 'url' | 'host' | 'from', example: string): string => {
    const text = draft[key].trim();
    if (text === '') wrong[key] = `Such as ${example}`;
    return text;
  };
  const credential = (key: 'secret' | 'password'): Credential | undefined => {
    const { from, name: typed } = draft[key];
    const called = typed.trim();
    if (from === 'none') return undefined;
    if (from === 'file') return { from };
    if (from === 'secret' && !IS_SECRET.test(called)) wrong[key] = 'The name of a secret: letters, digits, _ . - /';
    if (from === 'variable' && !IS_VARIABLE.test(called))
      wrong[key] = 'The name of a variable: letters, digits, _, no digit first';
    return { from, name: called };
  };
  const mailbox = (key: 'from' | 'to', text: string): string => {
    if (!IS_MAILBOX.test(text)) wrong[key] ??= `${text}: not an address such as Operations <ops@example.com>`;
    return text;
  };
  const all = { name, severity: draft.severity, resolved: draft.resolved };
  const said = (): ChannelSpec => {
    switch (draft.kind) {
      case 'webhook': {
        const secret = credential('secret');
        const url = needed('url', 'https://alerts.example/flotilla');
        return { ...all, kind: 'webhook', url, ...(secret ? { secret } : {}) };
      }
      case 'alertmanager':
        return { ...all, kind: 'alertmanager', url: needed('url', 'http://127.0.0.1:9093') };
      case 'exec': {
        const command = linesOf(draft.command);
        if (command.length === 0) wrong.command = 'A program, such as /usr/local/bin/page, and its arguments';
        const ms = draft.timeout.trim() === '' ? TIMEOUT_MS : spanOf(draft.timeout);
        if (ms === undefined) wrong.timeout = 'A duration such as 10s';
        return { ...all, kind: 'exec', command, timeout_ms: ms ?? TIMEOUT_MS };
      }
      case 'smtp': {
        const [host, from] = [needed('host', 'mail.example.com'), needed('from', 'flotilla@example.com')];
        const to = linesOf(draft.to);
        if (from !== '') mailbox('from', from);
        if (to.length === 0) wrong.to = 'At least one address';
        for (const one of to) mailbox('to', one);
        const port = draft.port.trim() === '' ? PORTS[draft.tls] : Number(draft.port);
        if (!Number.isInteger(port) || port < 1 || port > 65_535) wrong.port = 'A port from 1 to 65535';
        const ca = draft.tls === 'none' ? '' : draft.ca.trim();
        const [user, password] = [draft.user.trim(), credential('password')];
        if (user === '' && password) wrong.user = 'Whose password it is';
        if (user !== '' && !password) wrong.password = 'The password of this user';
        return {
          ...all,
          kind: 'smtp',
          host,
          port,
          tls: draft.tls,
          from,
          to,
          ...(ca ? { ca } : {}),
          ...(password ? { login: { user, password } } : {}),
        };
      }
      case 'desktop':
        return { ...all, kind: 'desktop' };
    }
  };
  const channel = said();
  return Object.keys(wrong).length > 0 ? { wrong } : { channel };
}
