/** Step 3: compares one shape of values.py, under the policy of this process. */
import { computePolicy } from 'alignbook';

import { compare } from '../differences';
import { checked, step } from './report';

step(async () => {
  const [shape, folder] = process.argv.slice(2) as [string, string];
  await compare(shape, folder, (line, within) => checked(`${computePolicy} ${line}`, within));
});
