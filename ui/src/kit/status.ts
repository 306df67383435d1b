/** Silhouettes, words and colours of states. Shape first, word second, colour as the third witness. */
export type StatusName =
  | 'running'
  | 'unchecked'
  | 'starting'
  | 'degraded'
  | 'unhealthy'
  | 'restarting'
  | 'failed'
  | 'stopping'
  | 'stopped'
  | 'stale'
  | 'sleeping'
  | 'disabled';

/** Prefix of the tokens of a state: `--ok-g`, `--ok-t`, … */
export type Tone = 'ok' | 'deg' | 'rst' | 'fail' | 'stop' | 'unk';

export interface StatusLook {
  word: string;
  tone: Tone;
  /** Whether the word takes the colour; quiet states leave it to the shape. */
  loud: boolean;
}

export const STATUS: Record<StatusName, StatusLook> = {
  running: { word: 'Running', tone: 'ok', loud: false },
  unchecked: { word: 'Unchecked', tone: 'unk', loud: false },
  starting: { word: 'Starting', tone: 'rst', loud: true },
  degraded: { word: 'Degraded', tone: 'deg', loud: true },
  unhealthy: { word: 'Unhealthy', tone: 'fail', loud: true },
  restarting: { word: 'Restarting', tone: 'rst', loud: true },
  failed: { word: 'Failed', tone: 'fail', loud: true },
  stopping: { word: 'Stopping', tone: 'stop', loud: false },
  stopped: { word: 'Stopped', tone: 'stop', loud: false },
  stale: { word: 'Stale', tone: 'unk', loud: true },
  sleeping: { word: 'Sleeping', tone: 'stop', loud: false },
  disabled: { word: 'Disabled', tone: 'stop', loud: false },
};
