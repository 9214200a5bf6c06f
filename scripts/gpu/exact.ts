/** Step 3: one shape of values.py, compared under the process's policy. */
import { computePolicy } from 'alignbook';

import { compare } from '../differences';
import { checked, step } from './report';

step(async () => {
  const [shape, folder] = process.argv.slice(2) as [string, string];
  await compare(shape, folder, (line, within) => checked(`${computePolicy} ${line}`, within));
});
