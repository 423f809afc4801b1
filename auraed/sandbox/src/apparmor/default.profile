# Containers that name no AppArmor profile. What capabilities, mounts and the filter of system calls leave open as well is
# closed here a second time: mounting, the kernel's settings and memory, and what the container's peers are not.
# Without includes, so that only the parser has to be there.

profile aurae-default flags=(attach_disconnected, mediate_deleted) {
  network,
  unix,
  capability,
  file,
  umount,

  # Each other's, and whatever the node asks of them.
  signal (receive),
  signal (send) peer=aurae-default,
  ptrace (tracedby, readby),
  ptrace (trace, read) peer=aurae-default,

  deny /proc/* w,
  deny /proc/kcore rwklx,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/sys/** w,
  deny /proc/{acpi,asound,bus,driver,fs,irq,scsi,tty}/** w,

  deny /sys/{block,bus,class,dev,devices,firmware,hypervisor,kernel,module,power}/** wklx,
  deny /sys/fs/{bpf,pstore,selinux,smackfs}/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/{debug,security,tracing}/** rwklx,
}
