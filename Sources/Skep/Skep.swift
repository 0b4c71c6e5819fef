@_exported import BPFLinux
@_exported import BPFVerifier
