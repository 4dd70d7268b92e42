# shellcheck shell=bash
# What the tests and the demo read: lab.json and known_hosts, each replaced as a whole.

identity_ensure() {
  chmod 0755 "$LAB"
  [[ -f $LAB/id_ed25519 ]] || ssh-keygen -q -t ed25519 -N '' -C pitrps-lab -f "$LAB/id_ed25519"
  [[ -f $LAB/password ]] || openssl rand -hex 16 | write_file "$LAB/password" 0600
}

inventory_write() {
  local name type key _
  local -a entries=()
  for name in $(host_names); do
    entries+=("$(
      host_load "$name"
      printf '{"name":"%s","address":"%s","port":%s,"user":"dba","keyFile":"%s","knownHosts":"%s","family":"%s","postgresMajor":%s,"passwordUser":"dbapw","passwordFile":"%s"}' \
        "$name" "$ADDRESS" "$PORT" "$LAB/id_ed25519" "$LAB/known_hosts" "$(family_of "$SUITE")" "$(postgres_major "$SUITE")" "$LAB/password"
    )")
  done
  for name in $(host_names); do
    (
      host_load "$name"
      # Under its name, too: that is what Connect-PgHost -Name NAME -Address ADDRESS looks up.
      [[ $PORT == 22 ]] && address=$name,$ADDRESS || address="[$name]:$PORT,[$ADDRESS]:$PORT"
      while read -r type key _; do
        echo "$address $type $key"
      done <"$HOST/hostkeys"
    )
  done | write_file "$LAB/known_hosts"
  {
    printf '{"hosts":['
    if ((${#entries[@]})); then
      printf '\n  %s' "${entries[0]}"
      ((${#entries[@]} == 1)) || printf ',\n  %s' "${entries[@]:1}"
      printf '\n'
    fi
    printf ']}\n'
  } | write_file "$LAB/lab.json"
}
