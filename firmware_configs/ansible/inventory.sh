#!/bin/sh
# The fleet's folder as Ansible's inventory: one list of devices, not two. Groups are site_…, group_…,
# ring_…, board_… and mic_…, with _ for what Ansible allows in no name. Ansible asks with --list.
exec edge-agent fleet list --ansible --dir "$(dirname "$0")/.."
