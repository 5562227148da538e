#!/usr/bin/python
# Copyright: (c) 2026, Herald contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: arp_probe
short_description: Ask a network segment who answers for an address
version_added: 0.1.0
author:
  - Herald contributors (@baremetal-herald)
description:
  - Sends ARP requests for IPv4 addresses and neighbour solicitations for IPv6 addresses from an interface, and returns
    every MAC that answers, with the time that it took.
  - Fails where two or more MACs answer for one address. A host's own neighbour table keeps one of them and says
    nothing.
  - Runs on any Linux host of the segment, with or without Herald. It needs root rights or C(CAP_NET_RAW).
extends_documentation_fragment:
  - baremetal.herald._attributes
  - baremetal.herald._attributes.query
attributes:
  check_mode:
    details:
      - Sends the same requests; nobody's state is changed by them but the neighbour tables of those who are asked.
options:
  addresses:
    description:
      - The addresses to ask for, IPv4 and IPv6.
    type: list
    elements: str
    required: true
  interface:
    description:
      - The Ethernet device to ask from. Its own MAC and address are the sender's; where it has no IPv4 address, ARP
        probes are sent. For IPv6 it needs a link-local address.
      - The host does not hear itself, so an address of its own has no answer here.
    type: str
    required: true
  count:
    description:
      - How many times each address is asked for.
    type: int
    default: 3
  interval:
    description:
      - Seconds between two requests for the same address.
    type: float
    default: 0.2
  timeout:
    description:
      - How long to listen after the last request, in seconds.
    type: float
    default: 1.0
  require_answer:
    description:
      - Whether an address that nobody answers for is an error too.
    type: bool
    default: false
requirements:
  - python >= 3.9
  - scapy >= 2.5.0 (Debian's python3-scapy)
seealso:
  - module: baremetal.herald.announcement_info
"""

EXAMPLES = r"""
- name: See that exactly one machine answers for each address
  baremetal.herald.arp_probe:
    interface: eth0
    addresses:
      - 192.0.2.200
      - 2001:db8:0:7::200
    require_answer: true

- name: See that nobody has the addresses that a new pool is to give
  baremetal.herald.arp_probe:
    interface: eth0
    addresses: "{{ query('ansible.builtin.sequence', 'start=200 end=239 format=192.0.2.%d') }}"
  register: probe
  failed_when: probe is failed or probe.addresses | selectattr('answerers') | length > 0
"""

RETURN = r"""
addresses:
  description: One entry for each address, in the order of O(addresses).
  returned: success and when more or fewer answered than wanted
  type: list
  elements: dict
  contains:
    address:
      description: The address, in its shortest spelling.
      type: str
      returned: always
      sample: 192.0.2.200
    requests:
      description: How many requests were sent for it.
      type: int
      returned: always
    answerers:
      description: One entry for each MAC that answered, in the order of their first answers.
      type: list
      elements: dict
      returned: always
      contains:
        mac:
          description: The MAC that the answer gives for the address.
          type: str
          returned: always
          sample: 02:00:5e:00:53:0a
        answers:
          description: How many answers came.
          type: int
          returned: always
        rtt_min:
          description: Milliseconds from a request to its answer; the shortest.
          type: float
          returned: always
          sample: 0.164
        rtt_median:
          description: The median.
          type: float
          returned: always
        rtt_max:
          description: The longest.
          type: float
          returned: always
"""

import fcntl
import ipaddress
import socket
import struct

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.baremetal.herald.plugins.module_utils import _probe
from ansible_collections.baremetal.herald.plugins.module_utils._address import parse
from ansible_collections.baremetal.herald.plugins.module_utils._errors import BadOption, HeraldError

# linux/sockios.h, linux/if_arp.h, linux/if.h
SIOCGIFFLAGS = 0x8913
SIOCGIFHWADDR = 0x8927
ARPHRD_ETHER = 1
IFF_UP = 0x1
IFF_RUNNING = 0x40


def main() -> None:
    """See DOCUMENTATION."""
    module = AnsibleModule(
        argument_spec={
            "addresses": {"type": "list", "elements": "str", "required": True},
            "interface": {"type": "str", "required": True},
            "count": {"type": "int", "default": 3},
            "interval": {"type": "float", "default": 0.2},
            "timeout": {"type": "float", "default": 1.0},
            "require_answer": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        addresses = wanted_addresses(params["addresses"])
        check_numbers(params)
        check_interface(params["interface"])
        if _probe.IMPORT_ERROR is not None:
            module.fail_json(msg=missing_required_lib("scapy"), exception=_probe.IMPORT_ERROR)
        found = ask(params, addresses)
    except HeraldError as error:
        module.fail_json(msg=str(error))
    result = {"changed": False, "addresses": [entry.result() for entry in found]}
    said = _probe.complaints(found, params["require_answer"])
    if said:
        module.fail_json(msg="; ".join(said), **result)
    module.exit_json(**result)


def ask(params: dict, addresses: list) -> list:
    """What was heard on the interface. Raises HeraldError."""
    versions = {ipaddress.ip_address(address).version for address in addresses}
    try:
        wire = _probe.Interface(params["interface"], versions)
    except PermissionError as error:
        raise HeraldError(
            f"wanted root rights (become: true) or CAP_NET_RAW to send ARP, found neither ({error})"
        ) from error
    except LookupError as error:
        raise BadOption(
            "interface", f"a device with {error.args[0]}", params["interface"]
        ) from error
    try:
        return _probe.probe(wire, addresses, params["count"], params["interval"], params["timeout"])
    except OSError as error:
        raise HeraldError(
            f"interface {params['interface']}: {error.strerror} while asking"
        ) from error
    finally:
        wire.close()


def wanted_addresses(texts: list) -> list:
    """The addresses in their shortest spelling, each once. Raises BadOption."""
    addresses = []
    for index, text in enumerate(texts):
        field = f"addresses[{index}]"
        address = parse(field, text)
        if address.is_multicast or address.is_loopback or address.is_unspecified:
            raise BadOption(field, "the address of a host on a network", text)
        addresses.append(str(address))
    if not addresses:
        raise BadOption("addresses", "at least one", None)
    return list(dict.fromkeys(addresses))


def check_numbers(params: dict) -> None:
    """Raises BadOption."""
    if params["count"] < 1:
        raise BadOption("count", "a number above 0", params["count"])
    for field in ("interval", "timeout"):
        if not 0 <= params[field] <= 60:
            raise BadOption(field, "seconds from 0 to 60", params[field])


def check_interface(name: str) -> None:
    """Raises BadOption where it is no Ethernet device of this host on which frames can come and go."""
    devices = [device for _index, device in socket.if_nameindex()]
    wanted = "an Ethernet device of this host that is up and has carrier"
    if name not in devices:
        raise BadOption("interface", f"{wanted} (there are {', '.join(devices)})", name)
    if ask_device(name, SIOCGIFHWADDR) != ARPHRD_ETHER:
        raise BadOption("interface", wanted, f"{name}, which is no Ethernet device")
    flags = ask_device(name, SIOCGIFFLAGS)
    if not flags & IFF_UP:
        raise BadOption("interface", wanted, f"{name}, which is down")
    if not flags & IFF_RUNNING:
        raise BadOption("interface", wanted, f"{name}, which has no carrier")


def ask_device(name: str, question: int) -> int:
    """The first number of an answer by netdevice(7); unlike sysfs, it is of this network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, question, struct.pack("16sH22x", name.encode(), 0))
    return struct.unpack_from("H", answer, 16)[0]


if __name__ == "__main__":
    main()
