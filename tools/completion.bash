# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# Completion for bash: commands, options and their values, all as the program's own help names them.
#
#   . tools/completion.bash

# The words that option $2 of command $1 may have, one a line: "auto|soft|kvm" of its help.
_nestor_values() {
	case $2 in
	--cpu | --trace) "$nestor" "$1" "$2" help 2>/dev/null | sed -n '2,$s/^  \([a-z][^ ]*\) .*/\1/p' ;;
	*) "$nestor" "$1" --help 2>/dev/null |
		sed -n "s/^  $2 \\([^ ]*\\).*/\\1/p" | tr '|' '\n' | sed -n 's/\[.*//; s/FILE.*//; /^[a-z]/p' ;;
	esac
}

_nestor() {
	local nestor=${COMP_WORDS[0]} cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local words

	# bash takes "--engine=so" for three words.
	if [ "$cur" = = ]; then
		cur=
	elif [ "$prev" = = ]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	if [ "$COMP_CWORD" = 1 ]; then
		words=$("$nestor" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\)  .*/\1/p')
	elif [[ $cur = -* ]]; then
		words=$("$nestor" "${COMP_WORDS[1]}" --help 2>/dev/null | sed -n 's/^  \(--[a-z-]*\).*/\1/p')
	elif [[ $prev = --* ]]; then
		words=$(_nestor_values "${COMP_WORDS[1]}" "$prev")
	fi
	# No words: the names of files.
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -o default -F _nestor nestor ./nestor
