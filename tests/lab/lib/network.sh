# shellcheck shell=bash
# The lab's network: one bridge that leads nowhere, a network namespace and a veth pair for each host.
# NUMBER is the lab's own, from 1 to 254: 10.77.NUMBER.0/24, bridge ptbrNUMBER, namespaces ptNUMBER-NAME, cgroups CGROUPS.

network_claim() {
  local claim
  if [[ ! -f $LAB/number ]]; then
    mkdir -p "$CACHE/networks"
    (
      flock 9
      for ((number = 1; number < 255; number++)); do
        claim=$CACHE/networks/$number
        # A claim of a lab that is no more is free again.
        [[ ! -f $claim || $(cat "$(cat "$claim")/number" 2>/dev/null) != "$number" ]] || continue
        [[ ! $(ip -4 route show "10.77.$number.0/24") && ! -e /sys/class/net/ptbr$number ]] || continue
        echo "$LAB" >"$claim"
        echo "$number" >"$LAB/number"
        exit 0
      done
      die "no free network in 10.77.0.0/16"
    ) 9>"$CACHE/networks/lock"
  fi
  network_load
}

network_load() {
  [[ -f $LAB/number ]] || return 1
  NUMBER=$(<"$LAB/number")
  NETWORK=10.77.$NUMBER
  BRIDGE=ptbr$NUMBER
  # shellcheck disable=SC2034  # host.sh does
  # systemd on a machine of today has one hierarchy; on an older one nspawn needs its own place in both.
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    CGROUPS=("/sys/fs/cgroup/pitrps-lab-$NUMBER")
  else
    CGROUPS=(/sys/fs/cgroup/{systemd,unified}"/pitrps-lab-$NUMBER")
  fi
}

mac() { printf '02:4d:4d:00:%02x:%02x' "$NUMBER" "$1"; }

network_up() {
  network_claim
  [[ ! -e /sys/class/net/$BRIDGE ]] || return 0
  # Fixed hardware addresses: what a client or a host has in its ARP cache stays true for a clone.
  ip link add "$BRIDGE" address "$(mac 1)" type bridge
  echo 1 >"/proc/sys/net/ipv6/conf/$BRIDGE/disable_ipv6"
  echo 0 >"/proc/sys/net/ipv4/conf/$BRIDGE/forwarding"
  ip addr add "$NETWORK.1/24" dev "$BRIDGE"
  ip link set "$BRIDGE" up
}

network_down() {
  ip link del "$BRIDGE" 2>/dev/null || true
  rm -f "$CACHE/networks/$NUMBER" "$LAB/number"
}

# The names of a host's parts, for HOST with its address's last number in LAST.
netns_of() { echo "pt$NUMBER-$1"; }
veth_of() { echo "pt${NUMBER}h$1"; }

link_up() { # NAME LAST
  local netns veth
  netns=$(netns_of "$1") veth=$(veth_of "$2")
  [[ ! -e /run/netns/$netns || ! -e /sys/class/net/$veth ]] || return 0
  link_down "$1" "$2"
  ip netns add "$netns"
  ip link add "$veth" type veth peer name eth0 address "$(mac "$2")" netns "$netns"
  ip -n "$netns" addr add "$NETWORK.$2/24" dev eth0
  ip -n "$netns" link set lo up
  ip -n "$netns" link set eth0 up
  ip link set "$veth" master "$BRIDGE" up
}

link_down() { # NAME LAST
  ip link del "$(veth_of "$2")" 2>/dev/null || true
  ip netns del "$(netns_of "$1")" 2>/dev/null || true
}
