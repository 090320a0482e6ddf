"""Scripts that complete commands, options and names in a shell, made from the argument parser: nothing is listed twice."""

import argparse
import collections

SHELLS = ("bash", "zsh", "fish")

Slot = collections.namedtuple("Slot", "flags help takes words")
Slot.__doc__ = "An option, or an argument (no flags); `takes` is None, 'words', 'file' or 'other'."

_FILES = ("FILE", "DEST")


def slots(parser, names):
    """What may follow the parser's command."""
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        words = tuple(names) if action.metavar == "NAME" and not action.option_strings else tuple(map(str, action.choices or ()))
        takes = None if action.nargs == 0 else "words" if words else "file" if action.metavar in _FILES else "other"
        found.append(Slot(tuple(action.option_strings), (action.help or "").replace("%%", "%"), takes, words))
    return found


def commands(parser):
    """The parsers of the commands by name, and a line about each."""
    [action] = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return {choice.dest: (action.choices[choice.dest], choice.help) for choice in action._choices_actions}


def script(shell, parser, names, program="fastact"):
    """The script for one of `SHELLS`.

    Parameters
    ----------
    shell : str
    parser : argparse.ArgumentParser
        With a sub-parser for each command.
    names : iterable of str
        What an argument called NAME may be.
    program : str
        The command that is completed.
    """
    found = {name: (about, slots(made, names)) for name, (made, about) in commands(parser).items()}
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](program, slots(parser, names), found)


def _flags(several):
    return [flag for slot in several for flag in slot.flags]


def _bash(program, top, found):
    values, cases = [], []
    for name, (_, several) in found.items():
        for slot in several:
            if slot.flags and slot.takes:
                does = {"words": f'words="{" ".join(slot.words)}"', "file": "return", "other": "compopt +o default; return"}[slot.takes]
                values.append(f"    {'|'.join(f'{name}:{flag}' for flag in slot.flags)}) {does} ;;")
        arguments = [word for slot in several if not slot.flags for word in slot.words]
        cases.append(f'      {name}) words="{" ".join([*_flags(several), *arguments])}" ;;')
    return f"""# Completes {program} in bash. Put this line into ~/.bashrc: source <({program} completion bash)
_{program}() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command="" words="" word
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    if [[ $word != -* ]]; then command=$word; break; fi
  done
  COMPREPLY=()
  case "$command:$before" in
{chr(10).join(values)}
    *) case "$command" in
      "") words="{" ".join([*found, *_flags(top)])}" ;;
{chr(10).join(cases)}
    esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _{program} {program}
"""


def _quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def _zsh(program, top, found):
    # The two options of the program itself are left out: a first word is a command.
    def plain(text):
        return text.replace("\\", "").replace("[", "(").replace("]", ")").replace(":", r"\:")

    def spec(slot):
        end = {None: "", "words": f":value:({' '.join(slot.words)})", "file": ":file:_files", "other": ":value: "}[slot.takes]
        if not slot.flags:
            return [_quoted("*" + end)]
        others = f"({' '.join(slot.flags)})" if len(slot.flags) > 1 else ""
        return [_quoted(f"{others}{flag}[{plain(slot.help)}]{end}") for flag in slot.flags]

    listed = "\n".join(f"    {_quoted(name + ':' + plain(about))}" for name, (about, _) in found.items())
    cases = "\n".join(
        f"    {name}) _arguments {' '.join(s for slot in several for s in spec(slot))} ;;" for name, (_, several) in found.items()
    )
    return f"""#compdef {program}
# Completes {program} in zsh. Put this line into ~/.zshrc, below compinit: source <({program} completion zsh)
_{program}() {{
  local -a commands
  commands=(
{listed}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
{cases}
  esac
}}
compdef _{program} {program}
"""


def _fish(program, top, found):
    def line(when, slot):
        parts = [f"complete -c {program} -n {_quoted(when)}"]
        parts += [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in slot.flags]
        parts += {None: [], "words": ["-x", "-a", _quoted(" ".join(slot.words))], "file": ["-r", "-F"], "other": ["-x"]}[slot.takes]
        return " ".join([*parts, "-d", _quoted(slot.help)])

    lines = [
        f"# Completes {program} in fish: {program} completion fish > ~/.config/fish/completions/{program}.fish",
        f"complete -c {program} -f",
    ]
    lines += [line("__fish_use_subcommand", slot) for slot in top]
    for name, (about, several) in found.items():
        lines.append(f"complete -c {program} -n '__fish_use_subcommand' -a {name} -d {_quoted(about)}")
        lines += [line(f"__fish_seen_subcommand_from {name}", slot) for slot in several]
    return "\n".join(lines) + "\n"
