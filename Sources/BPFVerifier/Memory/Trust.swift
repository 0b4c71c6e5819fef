import BPFISA
import BPFLinux
import BTF

// Which kernel pointers are known to be valid, and for how long.

extension TypeFlags {
  /// Each of these alone makes a pointer trusted.
  static let trustedModifiers: TypeFlags = [.allocated, .trusted, .nonOwning]
}

extension RegisterType {
  /// Whether a modifier makes the pointer less than trusted.
  @inline(__always) var hasUnsafeModifiers: Bool { !flags.subtracting(.trustedModifiers).isEmpty }
  /// An object that the program allocated.
  @inline(__always) var isAllocatedObject: Bool { base == .btfID && has(.allocated) }
  /// A pointer to an object that some collection owns.
  @inline(__always) var isNonOwningReference: Bool { isAllocatedObject && has(.nonOwning) }
  @inline(__always) var isPacketPointer: Bool { base == .packet || base == .packetMeta }
  @inline(__always) var isSocketPointer: Bool {
    self == .socket || self == .sockCommon || self == .tcpSock || self == .xdpSock
  }
}

extension Verification {
  /// Whether the object behind the register stays valid while the program runs.
  func isTrusted(_ r: RegisterRef) -> Bool {
    if r.pointee.referenceID != 0 { return true }
    let type = r.pointee.type
    switch type.base {
    case .socket, .sockCommon, .tcpSock, .mapPointer:
      if !type.hasUnsafeModifiers { return true }
    default:
      break
    }
    return type.has(.trustedModifiers) && !type.hasUnsafeModifiers
  }

  func isRCU(_ r: RegisterRef) -> Bool { r.pointee.type.has(.rcu) }

  var inSleepable: Bool { state.pointee.inSleepable }

  /// Whether RCU protects what the program holds: by an explicit lock, or since nothing here can sleep.
  var inRCUSection: Bool {
    state.pointee.activeRCULock || state.pointee.activeLocks != 0 || !inSleepable
  }

  func clearTrustedFlags(_ flags: inout TypeFlags) {
    flags.subtract(.trustedModifiers)
    flags.subtract(.rcu)
  }

  private static let rcuProtectedTypes: [StaticString] = [
    "task_struct", "cgroup", "bpf_cpumask", "bpf_crypto_ctx", "prog_test_ref_kfunc",
  ]

  /// Whether objects of the type are freed only after a grace period.
  func isRCUProtected(btf: BTFIndex, id: TypeID) -> Bool {
    guard isKernelBTF(btf), let types = btfs[Int(btf)] else { return true }
    guard types.kind(id) == .structure else { return false }
    return Self.rcuProtectedTypes.contains { types.nameEquals(id, $0) }
  }

  /// What the kernel's lists of fields say of the pointer that `walk` found in the structure `r` points to.
  func fieldTrust(_ r: RegisterRef, _ walk: BTFWalk) -> FieldTrust {
    let key = FieldTrustKey(
      btf: r.pointee.btf, structure: r.pointee.btfID, field: walk.fieldNameOffset, target: walk.nextID)
    if let known = fieldTrusts[key] { return known }
    let field = walk.fieldName
    var trust = FieldTrust()
    for (suffix, one) in FieldTrust.suffixes
    where btfNestedTypeIsTrusted(r, field: field, id: walk.nextID, suffix: suffix) {
      trust.insert(one)
    }
    fieldTrusts[key] = trust
    return trust
  }
}

/// How far a pointer in a kernel structure shares its structure's trust. The kernel lists such fields as types whose
/// names end with these suffixes.
struct FieldTrust: OptionSet, BitwiseCopyable {
  let rawValue: UInt8
  static let trusted = FieldTrust(rawValue: 1 << 0)
  static let trustedOrNull = FieldTrust(rawValue: 1 << 1)
  static let rcu = FieldTrust(rawValue: 1 << 2)
  static let rcuOrNull = FieldTrust(rawValue: 1 << 3)

  fileprivate static let suffixes: [(String, FieldTrust)] = [
    ("__safe_trusted", .trusted), ("__safe_trusted_or_null", .trustedOrNull), ("__safe_rcu", .rcu),
    ("__safe_rcu_or_null", .rcuOrNull),
  ]
}

/// A pointer in a kernel structure.
struct FieldTrustKey: BitwiseCopyable, Hashable {
  var btf: BTFIndex
  var structure: TypeID
  /// Offset of the field's name.
  var field: UInt32
  var target: TypeID
}
