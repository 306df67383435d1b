import type { CallError } from '$lib/transport';

/** What stands on disk against what was read, where an error is a conflict; null where it is another error. */
export function conflictOf(error: CallError): string | null {
  if (error.code !== 'conflict') return null;
  const { detail } = error;
  if (typeof detail === 'string') return detail;
  if (typeof detail === 'object' && detail !== null && 'diff' in detail && typeof detail.diff === 'string')
    return detail.diff;
  return detail === undefined ? error.message : JSON.stringify(detail, null, 2);
}
