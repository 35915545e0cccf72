"""The shell's completion of commands and options, as a script that needs no start of Python."""

from collections.abc import Iterator, Mapping, Sequence

FUNCTION = """_d3() {
  local word="${COMP_WORDS[COMP_CWORD]}" command="" part words=""
  for part in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$part" in -*) ;; *) command="$part"; break ;; esac
  done
  case "$command" in
"""
END = """  esac
  COMPREPLY=()
  if [[ -n "$words" && ( -z "$command" || "$word" == -* ) ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$word"))
  fi
}
complete -o default -o bashdefault -F _d3 d3
"""
ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"
"""zsh runs completions of bash."""


def completion_script(options: Mapping[str, Sequence[str]], shell: str) -> str:
    """Return the script for `bash` or `zsh`; `options` are those of every command. Where no option fits, files do."""
    return (ZSH if shell == "zsh" else "") + FUNCTION + "".join(f"    {line}\n" for line in _cases(options)) + END


def _cases(options: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield f'"") words="{" ".join([*options, "--help", "--version", "--debug"])}" ;;'
    for name, flags in options.items():
        yield f'{name}) words="{" ".join(flags)}" ;;'
