"""What KVM itself says it offers: never concluded from /dev/kvm being there."""
import fcntl
import os
import struct

DEVICE = "/dev/kvm"
KVM_GET_API_VERSION = 0xAE00
KVM_GET_SUPPORTED_CPUID = 0xC008AE05
ENTRIES = 256
ENTRY = struct.Struct("<10I")  # function, index, flags, eax, ebx, ecx, edx, padding
CPUID_1_ECX_VMX = 1 << 5


def _open():
    return os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)


def unusable():
    """Why KVM cannot be used at all, or None."""
    try:
        descriptor = _open()
    except FileNotFoundError:
        return f"no {DEVICE}: the kvm module is not loaded, or the machine has no virtualization"
    except PermissionError:
        return f"no permission to open {DEVICE} (is the user in the group kvm?)"
    except OSError as error:
        return f"{DEVICE}: {error.strerror}"
    try:
        version = fcntl.ioctl(descriptor, KVM_GET_API_VERSION)
        return None if version == 12 else f"{DEVICE}: unknown KVM API version {version}"
    except OSError as error:
        return f"{DEVICE} does not answer: {error.strerror}"
    finally:
        os.close(descriptor)


def supported_cpuid():
    """{function: (eax, ebx, ecx, edx)} of sub-leaf 0, as KVM offers it to guests."""
    descriptor = _open()
    try:
        buffer = bytearray(8 + ENTRIES * ENTRY.size)
        struct.pack_into("<I", buffer, 0, ENTRIES)
        fcntl.ioctl(descriptor, KVM_GET_SUPPORTED_CPUID, buffer)
    finally:
        os.close(descriptor)
    (count,) = struct.unpack_from("<I", buffer)
    leaves = {}
    for number in range(min(count, ENTRIES)):
        function, _index, _flags, *registers = ENTRY.unpack_from(buffer, 8 + number * ENTRY.size)
        leaves.setdefault(function, tuple(registers[:4]))
    return leaves


def without_vmx():
    """Why KVM's guests would have no VMX, or None."""
    try:
        leaves = supported_cpuid()
    except OSError as error:
        return f"KVM does not tell its CPUID: {error.strerror}"
    if leaves.get(1, (0, 0, 0, 0))[2] & CPUID_1_ECX_VMX:
        return None
    if not os.path.isdir("/sys/module/kvm_intel"):
        return "KVM offers no VMX: the module kvm_intel is not loaded (no VT-x here?)"
    try:
        with open("/sys/module/kvm_intel/parameters/nested", encoding="ascii") as stream:
            nested = stream.read().strip()
    except OSError:
        nested = "unknown"
    return f"KVM offers no VMX to guests (kvm_intel's parameter nested is {nested})"
