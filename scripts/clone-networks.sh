#!/usr/bin/env bash
# Makes a network namespace with a tap for each clone, or takes them away. As root; needs iproute2, and nftables for --uplink.
#
#   clone-networks.sh up|down PREFIX COUNT [--tap NAME] [--address CIDR] [--owner USER] [--uplink CIDR]
#
#   PREFIX COUNT    namespaces PREFIX1 to PREFIXCOUNT: `clonevm restore --net tap=NAME,netns=PREFIX%d`
#   --tap NAME      the tap in each (default: vm0)
#   --address CIDR  the host's address on each tap, the same in all (default: 10.0.0.1/24)
#   --owner USER    who may open the taps beside root
#   --uplink CIDR   a way out for each: its guest's connections get an address of their own, from this network on, over a pair of veth
#                   interfaces whose host's end is called PREFIX and the number. A /30 is taken for each clone; forwarding beyond the
#                   host is the host's business.
set -euo pipefail

die() {
  echo "clone-networks.sh: $*" >&2
  exit 1
}
usage="usage: clone-networks.sh up|down PREFIX COUNT [--tap NAME] [--address CIDR] [--owner USER] [--uplink CIDR]"
[ $# -ge 3 ] || die "$usage"
verb="$1" prefix="$2" count="$3"
shift 3
tap=vm0 address=10.0.0.1/24 owner="" uplink=""
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || die "$1 needs a value"
  case "$1" in
    --tap) tap="$2" ;;
    --address) address="$2" ;;
    --owner) owner="$2" ;;
    --uplink) uplink="$2" ;;
    *) die "unknown argument '$1'; $usage" ;;
  esac
  shift 2
done
[[ "$prefix" =~ ^[A-Za-z0-9_.-]+$ ]] || die "'$prefix' is no prefix of a namespace's name"
[[ "$count" =~ ^[1-9][0-9]{0,4}$ ]] || die "'$count' is no number of clones"
prefix_length=$((${#prefix} + ${#count}))
[ -z "$uplink" ] || [ "$prefix_length" -le 15 ] || die "'$prefix$count' is longer than an interface's name"

# The network address of the nth /30 from the uplink's on, as a number.
network_of() {
  local a b c d
  IFS=. read -r a b c d <<<"${uplink%/*}"
  echo $(((a << 24 | b << 16 | c << 8 | d) + 4 * ($1 - 1)))
}
dotted() { echo "$(($1 >> 24 & 255)).$(($1 >> 16 & 255)).$(($1 >> 8 & 255)).$(($1 & 255))"; }

up() { # NUMBER
  local name="$prefix$1" network
  ip netns add "$name"
  ip -n "$name" link set lo up
  ip -n "$name" tuntap add dev "$tap" mode tap ${owner:+user "$owner"}
  ip -n "$name" addr add "$address" dev "$tap"
  ip -n "$name" link set "$tap" up
  [ -n "$uplink" ] || return 0
  network="$(network_of "$1")"
  ip link add "$name" type veth peer name uplink netns "$name"
  ip addr add "$(dotted $((network + 1)))/30" dev "$name"
  ip link set "$name" up
  ip -n "$name" addr add "$(dotted $((network + 2)))/30" dev uplink
  ip -n "$name" link set uplink up
  ip -n "$name" route add default via "$(dotted $((network + 1)))"
  ip netns exec "$name" sysctl -qw net.ipv4.ip_forward=1
  ip netns exec "$name" nft -f - <<'NFT'
table ip clonesafe {
  chain out {
    type nat hook postrouting priority srcnat;
    oifname "uplink" masquerade
  }
}
NFT
}

down() {
  [ -e "/run/netns/$prefix$1" ] || return 0
  # The namespace's interfaces go with it, but only some time later; the name shall be free at once.
  ip -n "$prefix$1" link del uplink 2>/dev/null || true
  ip netns del "$prefix$1"
}

case "$verb" in
  up)
    set -E
    for ((k = 1; k <= count; ++k)); do
      [ ! -e "/run/netns/$prefix$k" ] || die "namespace $prefix$k is there already"
      trap 'trap - ERR; down "$k"; die "namespace $prefix$k cannot be made"' ERR
      up "$k"
      trap - ERR
    done
    ;;
  down) for ((k = 1; k <= count; ++k)); do down "$k"; done ;;
  *) die "$usage" ;;
esac
