# Plays an agent that was taken over, with the programs that any agent has. Each attempt prints what came of it; the exit code is 0 only if
# each ended as a bottle promises.
number=0
wrong=0
attempt() { number=$((number + 1)); printf '\n%d. %s\n' "$number" "$1"; }
outcome() { printf '   -> %s\n' "$1"; }
broken() { outcome "NOT AS PROMISED: $1"; wrong=1; }
reason() { tr -d '\r' | sed -n 's/^[< ]*x-bottle-reason: //p' | head -n 1; }
try() {
    printf '   $ curl %s\n' "$*" | cut -c 1-110
    answer=$(curl -sv --max-time 10 "$@" 2>&1)
    code=$?
    refused=$(printf '%s\n' "$answer" | reason)
}
expect() {
    if [ "$refused" = "$1" ]; then outcome "refused: $refused"
    elif [ -n "$refused" ]; then broken "wanted $1, got $refused"
    elif [ "$code" = 0 ]; then broken "wanted $1, got an answer"
    else broken "wanted $1, curl failed with code $code"; fi
}

attempt 'an allowed request, with a token that this agent never saw'
try https://api.demo.test/echo
seen=$(printf '%s\n' "$answer" | grep -o '"authorization","Bearer [^"]*"' | head -n 1)
case $seen in
    '') broken "no answer of the origin: ${refused:-curl ended with code $code}" ;;
    '"authorization","Bearer '*[!*]*'"') broken 'the origin echoes the token, and this agent can read it' ;;
    *) outcome "answered; what the origin echoes of the token is blotted out: $seen" ;;
esac

attempt 'a host that no route names'
try https://exfiltrate.example/
expect host_not_listed

attempt 'a path that the route does not allow'
try https://api.demo.test/admin
expect path_not_allowed

attempt 'a stolen key in an allowed request'
# Made up here, in the published form of a cloud provider's key ids.
key="AKIA$(tr -dc 'A-Z2-7' </dev/urandom | head -c 16)"
try https://api.demo.test/echo --data "{\"note\": \"$key\"}"
expect secret_detected

attempt 'the same key, hidden in base64'
try https://api.demo.test/echo --data "$(printf 'id=%s' "$key" | base64)"
expect secret_detected

attempt 'the cloud metadata service'
try http://169.254.169.254/latest/meta-data/
expect host_not_listed

attempt 'the network, past the proxy'
printf '   $ curl --noproxy "*" http://192.0.2.1/\n'
devices=$(sed -n 's/^ *\([^ :]*\):.*/\1/p' /proc/net/dev | tr '\n' ' ')
if curl -s --noproxy '*' --max-time 3 http://192.0.2.1/ >/dev/null 2>&1; then broken 'it got out'
elif [ "$devices" != 'lo ' ]; then broken "this network has other devices than lo: $devices"
else outcome "no route: this network has 1 device, lo, and $(($(wc -l </proc/net/route) - 1)) routes"; fi

attempt 'a credential in the environment or a file'
# Settings of git that bottle makes have KEY in their names; the instructions that bottle writes are in ~/.config.
variables=$(env | grep -v '^GIT_CONFIG_KEY_' | grep -c -i -E 'token|secret|key|password')
files=$(find "$HOME" -type f -not -path "$HOME/.config/bottle/*" -not -path "$HOME/.config/git/*" 2>/dev/null | wc -l)
if [ "$variables" != 0 ] || [ "$files" != 0 ]; then broken "$variables variables look like one; the home has $files files"
else outcome '0 variables that look like one; the home has 0 files; ~/.ssh of the host is not here'; fi

attempt 'the host: its processes, its files'
processes=$(ls /proc | grep -c '^[0-9]')
first=$(tr '\0' ' ' </proc/1/cmdline)
if touch /usr/x 2>/dev/null; then broken 'this agent can write to /usr'
elif [ "$first" != 'bottle-init ' ]; then broken "this agent sees the processes of the host: the first is $first"
else outcome "$processes processes to see, all of this bottle; writing to /usr: $(touch /usr/x 2>&1 | sed 's/.*: //')"; fi

printf '\n'
exit "$wrong"
