/** A field for a share in percent. */

import { make, mark } from '../element';

export function share(weight: number, label: string): HTMLInputElement {
  const field = make('input', {
    class: 'aegis-Input aegis-mod-number',
    type: 'number',
    min: 0,
    max: 100,
    step: 'any',
    'aria-label': label,
  });
  field.value = String(weight);
  return field;
}

/** What a person typed, 0 to 100; null, and the field says so, where it is no share. */
export function percent(field: HTMLInputElement): number | null {
  const weight = field.value.trim() === '' ? NaN : Number(field.value);
  const wrong = !(weight >= 0 && weight <= 100);
  mark(field, 'aria-invalid', wrong ? 'true' : null);
  if (!wrong) return weight;
  field.focus();
  return null;
}
