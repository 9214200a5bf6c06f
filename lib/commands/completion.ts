/** Generates shell completion scripts from the commands' declarations. */
import type { Command } from './command';
import { flagOf } from './commandLine';

/** The script that completes these commands in the given shell. */
export const completionScript = (shell: 'bash' | 'zsh' | 'fish', commands: readonly Command[]): string =>
  ({ bash, zsh, fish })[shell](commands);

interface Word {
  readonly flag: string;
  readonly help: string;
  /** The kind of value: a file, some names, or any text; undefined if the option takes none. */
  readonly value?: 'path' | 'text' | readonly string[];
}

/** A command's options. */
function wordsOf({ settings, argument, config }: Command): Word[] {
  const own = Object.entries(settings)
    .filter(([name, { hidden }]) => name !== argument && hidden !== true)
    .map(([name, { kind, choices, help }]): Word => {
      const value = choices ?? (kind === 'path' ? 'path' : 'text');
      return { flag: flagOf(name), help, ...(kind !== 'flag' && { value }) };
    });
  const file: Word = { flag: '--config', help: 'Read settings from a JSON file.', value: 'path' };
  return [
    ...own,
    ...(config ? [file] : []),
    { flag: '--profile', help: 'Print where the time went.' },
    { flag: '--help', help: 'Print the help of this command.' },
  ];
}

/** The possible values of a command's first argument, if they are known. */
const placeOf = ({ settings, argument }: Command): readonly string[] =>
  argument === undefined ? [] : (settings[argument]!.choices ?? []);

/** Completes the words after `alignbook`, also after `npx alignbook`, through bash's own completion. */
function bash(commands: readonly Command[]): string {
  const options = commands.map((command) => {
    const words = [...wordsOf(command).map(({ flag }) => flag), ...placeOf(command)];
    return `    ${command.name}) words='${words.join(' ')}' ;;`;
  });
  const values = commands.flatMap((command) =>
    wordsOf(command).flatMap(({ flag, value }) =>
      Array.isArray(value) ? [`    ${command.name}:${flag}) words='${value.join(' ')}' ;;`] : [],
    ),
  );
  return `# Completion of npx alignbook; add it to ~/.bashrc.
_alignbook() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} at=1 words=
  if [[ \${COMP_WORDS[0]} == npx ]]; then
    [[ \${COMP_WORDS[1]} == alignbook ]] || return 0
    at=2
  fi
  local name=\${COMP_WORDS[at]}
  if (( COMP_CWORD == at )); then
    COMPREPLY=( $(compgen -W '${commands.map(({ name }) => name).join(' ')} --help --version' -- "$word") )
    return 0
  fi
  case $name:$before in
${values.join('\n')}
  esac
  [[ -n $words ]] || case $name in
${options.join('\n')}
  esac
  COMPREPLY=( $(compgen -W "$words" -- "$word") )
}
complete -o default -F _alignbook alignbook
complete -o default -F _alignbook npx`;
}

/** Makes a text safe between single quotes, for zsh and fish. */
const plain = (text: string): string => text.replaceAll("'", '’').replaceAll(/[[\]:\\]/g, ' ');

function zsh(commands: readonly Command[]): string {
  const cases = commands.map((command) => {
    const specs = wordsOf(command).map(({ flag, help, value }) => {
      if (value === undefined) return `'${flag}[${plain(help)}]'`;
      const values = value === 'path' ? '_files' : value === 'text' ? ' ' : `(${value.join(' ')})`;
      return `'${flag}[${plain(help)}]:value:${values}'`;
    });
    const place = placeOf(command);
    const { argument, settings } = command;
    const which = argument !== undefined && settings[argument]!.kind === 'repeated' ? '*' : '1';
    const first =
      argument === undefined ? [] : [`'${which}:${argument}:${place.length > 0 ? `(${place.join(' ')})` : '_files'}'`];
    return `    ${command.name}) _arguments ${[...first, ...specs].join(' \\\n      ')} ;;`;
  });
  return `#compdef alignbook
# Completion of alignbook; write it to a file _alignbook in a folder of $fpath.
_alignbook() {
  local -a commands=(
${commands.map(({ name, summary }) => `    '${name}:${plain(summary)}'`).join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local name=$words[2]
  shift words
  (( CURRENT-- ))
  case $name in
${cases.join('\n')}
  esac
}
compdef _alignbook alignbook`;
}

function fish(commands: readonly Command[]): string {
  const lines = commands.flatMap((command) => {
    const within = `-n '__fish_seen_subcommand_from ${command.name}'`;
    const options = wordsOf(command).map(({ flag, help, value }) => {
      const takes =
        value === undefined
          ? ''
          : value === 'path'
            ? ' -r -F'
            : value === 'text'
              ? ' -x'
              : ` -x -a '${value.join(' ')}'`;
      return `complete -c alignbook ${within} -l ${flag.slice('--'.length)}${takes} -d '${plain(help)}'`;
    });
    const place = placeOf(command);
    const first = place.length > 0 ? [`complete -c alignbook ${within} -f -a '${place.join(' ')}'`] : [];
    return [
      `complete -c alignbook -n __fish_use_subcommand -f -a ${command.name} -d '${plain(command.summary)}'`,
      ...first,
      ...options,
    ];
  });
  return `# Completion of alignbook; write it to ~/.config/fish/completions/alignbook.fish.\n${lines.join('\n')}`;
}
