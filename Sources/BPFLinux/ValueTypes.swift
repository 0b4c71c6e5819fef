/// What kind of value a register holds: a base type in the low byte, modifiers above it.
///
///      31                    8 7       0
///     +------------------------+--------+
///     |        flags           |  base  |
///     +------------------------+--------+
///
/// `ArgumentType` and `ReturnType` share the layout and the flags.
public struct RegisterType: RawRepresentable, BitwiseCopyable, Hashable, Sendable {
  public var rawValue: UInt32
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

  @inlinable public var base: RegisterType { RegisterType(rawValue: rawValue & TypeFlags.baseMask) }
  @inlinable public var flags: TypeFlags { TypeFlags(rawValue: rawValue & ~TypeFlags.baseMask) }
  @inlinable public var mayBeNull: Bool { has(.mayBeNull) }
  @inlinable public func has(_ flag: TypeFlags) -> Bool { rawValue & flag.rawValue != 0 }
  @inlinable public static func | (a: RegisterType, b: TypeFlags) -> RegisterType {
    RegisterType(rawValue: a.rawValue | b.rawValue)
  }
  @inlinable public static func |= (a: inout RegisterType, b: TypeFlags) { a.rawValue |= b.rawValue }
  @inlinable public func removing(_ flags: TypeFlags) -> RegisterType {
    RegisterType(rawValue: rawValue & ~flags.rawValue)
  }

  @inlinable public static var notInitialized: RegisterType { RegisterType(rawValue: 0) }
  @inlinable public static var scalar: RegisterType { RegisterType(rawValue: 1) }
  @inlinable public static var context: RegisterType { RegisterType(rawValue: 2) }
  @inlinable public static var mapPointer: RegisterType { RegisterType(rawValue: 3) }
  @inlinable public static var mapValue: RegisterType { RegisterType(rawValue: 4) }
  @inlinable public static var mapKey: RegisterType { RegisterType(rawValue: 5) }
  @inlinable public static var stack: RegisterType { RegisterType(rawValue: 6) }
  @inlinable public static var packetMeta: RegisterType { RegisterType(rawValue: 7) }
  @inlinable public static var packet: RegisterType { RegisterType(rawValue: 8) }
  @inlinable public static var packetEnd: RegisterType { RegisterType(rawValue: 9) }
  @inlinable public static var flowKeys: RegisterType { RegisterType(rawValue: 10) }
  @inlinable public static var socket: RegisterType { RegisterType(rawValue: 11) }
  @inlinable public static var sockCommon: RegisterType { RegisterType(rawValue: 12) }
  @inlinable public static var tcpSock: RegisterType { RegisterType(rawValue: 13) }
  @inlinable public static var tracepointBuffer: RegisterType { RegisterType(rawValue: 14) }
  @inlinable public static var xdpSock: RegisterType { RegisterType(rawValue: 15) }
  /// A kernel (or program-allocated) object whose type BTF knows.
  @inlinable public static var btfID: RegisterType { RegisterType(rawValue: 16) }
  @inlinable public static var memory: RegisterType { RegisterType(rawValue: 17) }
  @inlinable public static var arena: RegisterType { RegisterType(rawValue: 18) }
  @inlinable public static var buffer: RegisterType { RegisterType(rawValue: 19) }
  @inlinable public static var function: RegisterType { RegisterType(rawValue: 20) }
  @inlinable public static var dynptr: RegisterType { RegisterType(rawValue: 21) }
  /// One past the highest base type.
  @inlinable public static var baseEnd: UInt32 { 22 }
}

/// Modifiers of register, argument and return types.
public struct TypeFlags: OptionSet, BitwiseCopyable, Hashable, Sendable {
  public let rawValue: UInt32
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }
  @inlinable public static var baseMask: UInt32 { 0xff }

  @inlinable public static var mayBeNull: TypeFlags { TypeFlags(rawValue: 1 << 8) }
  @inlinable public static var readOnly: TypeFlags { TypeFlags(rawValue: 1 << 9) }
  @inlinable public static var ringbuf: TypeFlags { TypeFlags(rawValue: 1 << 10) }
  @inlinable public static var user: TypeFlags { TypeFlags(rawValue: 1 << 11) }
  @inlinable public static var percpu: TypeFlags { TypeFlags(rawValue: 1 << 12) }
  /// The argument is released by the call.
  @inlinable public static var release: TypeFlags { TypeFlags(rawValue: 1 << 13) }
  @inlinable public static var untrusted: TypeFlags { TypeFlags(rawValue: 1 << 14) }
  /// Memory may be uninitialised.
  @inlinable public static var uninitialized: TypeFlags { TypeFlags(rawValue: 1 << 15) }
  @inlinable public static var dynptrLocal: TypeFlags { TypeFlags(rawValue: 1 << 16) }
  @inlinable public static var dynptrRingbuf: TypeFlags { TypeFlags(rawValue: 1 << 17) }
  @inlinable public static var fixedSize: TypeFlags { TypeFlags(rawValue: 1 << 18) }
  /// Allocated by the program, of a type in the program's BTF.
  @inlinable public static var allocated: TypeFlags { TypeFlags(rawValue: 1 << 19) }
  @inlinable public static var trusted: TypeFlags { TypeFlags(rawValue: 1 << 20) }
  @inlinable public static var rcu: TypeFlags { TypeFlags(rawValue: 1 << 21) }
  @inlinable public static var nonOwning: TypeFlags { TypeFlags(rawValue: 1 << 22) }
  @inlinable public static var dynptrSKB: TypeFlags { TypeFlags(rawValue: 1 << 23) }
  @inlinable public static var dynptrXDP: TypeFlags { TypeFlags(rawValue: 1 << 24) }
  @inlinable public static var aligned: TypeFlags { TypeFlags(rawValue: 1 << 25) }
  @inlinable public static var write: TypeFlags { TypeFlags(rawValue: 1 << 26) }
  @inlinable public static var dynptrSKBMeta: TypeFlags { TypeFlags(rawValue: 1 << 27) }
  @inlinable public static var dynptrAny: TypeFlags {
    [.dynptrLocal, .dynptrRingbuf, .dynptrSKB, .dynptrXDP, .dynptrSKBMeta]
  }
}

/// What a helper demands of an argument.
public struct ArgumentType: RawRepresentable, BitwiseCopyable, Hashable, Sendable {
  public var rawValue: UInt32
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }
  @inlinable public var base: ArgumentType { ArgumentType(rawValue: rawValue & TypeFlags.baseMask) }
  @inlinable public var flags: TypeFlags { TypeFlags(rawValue: rawValue & ~TypeFlags.baseMask) }
  @inlinable public var mayBeNull: Bool { has(.mayBeNull) }
  @inlinable public func has(_ flag: TypeFlags) -> Bool { rawValue & flag.rawValue != 0 }
  @inlinable public static func | (a: ArgumentType, b: TypeFlags) -> ArgumentType {
    ArgumentType(rawValue: a.rawValue | b.rawValue)
  }
  @inlinable public func removing(_ flags: TypeFlags) -> ArgumentType {
    ArgumentType(rawValue: rawValue & ~flags.rawValue)
  }

  @inlinable public static var none: ArgumentType { ArgumentType(rawValue: 0) }
  @inlinable public static var constMapPointer: ArgumentType { ArgumentType(rawValue: 1) }
  @inlinable public static var mapKey: ArgumentType { ArgumentType(rawValue: 2) }
  @inlinable public static var mapValue: ArgumentType { ArgumentType(rawValue: 3) }
  @inlinable public static var memory: ArgumentType { ArgumentType(rawValue: 4) }
  @inlinable public static var arena: ArgumentType { ArgumentType(rawValue: 5) }
  @inlinable public static var constSize: ArgumentType { ArgumentType(rawValue: 6) }
  @inlinable public static var constSizeOrZero: ArgumentType { ArgumentType(rawValue: 7) }
  @inlinable public static var context: ArgumentType { ArgumentType(rawValue: 8) }
  @inlinable public static var anything: ArgumentType { ArgumentType(rawValue: 9) }
  @inlinable public static var spinLock: ArgumentType { ArgumentType(rawValue: 10) }
  @inlinable public static var sockCommon: ArgumentType { ArgumentType(rawValue: 11) }
  @inlinable public static var socket: ArgumentType { ArgumentType(rawValue: 12) }
  @inlinable public static var btfID: ArgumentType { ArgumentType(rawValue: 13) }
  @inlinable public static var ringbufMemory: ArgumentType { ArgumentType(rawValue: 14) }
  @inlinable public static var constAllocSizeOrZero: ArgumentType { ArgumentType(rawValue: 15) }
  @inlinable public static var btfIDSockCommon: ArgumentType { ArgumentType(rawValue: 16) }
  @inlinable public static var percpuBTFID: ArgumentType { ArgumentType(rawValue: 17) }
  @inlinable public static var function: ArgumentType { ArgumentType(rawValue: 18) }
  @inlinable public static var stack: ArgumentType { ArgumentType(rawValue: 19) }
  @inlinable public static var constString: ArgumentType { ArgumentType(rawValue: 20) }
  @inlinable public static var timer: ArgumentType { ArgumentType(rawValue: 21) }
  @inlinable public static var kptrExchangeDestination: ArgumentType { ArgumentType(rawValue: 22) }
  @inlinable public static var dynptr: ArgumentType { ArgumentType(rawValue: 23) }

  @inlinable public static var mapValueOrNull: ArgumentType { mapValue | .mayBeNull }
  @inlinable public static var memoryOrNull: ArgumentType { memory | .mayBeNull }
  @inlinable public static var contextOrNull: ArgumentType { context | .mayBeNull }
  @inlinable public static var socketOrNull: ArgumentType { socket | .mayBeNull }
  @inlinable public static var stackOrNull: ArgumentType { stack | .mayBeNull }
  @inlinable public static var btfIDOrNull: ArgumentType { btfID | .mayBeNull }
  @inlinable public static var uninitializedMemory: ArgumentType { memory | [.uninitialized, .write] }
  @inlinable public static var fixedSizeMemory: ArgumentType { memory | .fixedSize }
}

/// What a helper returns.
public struct ReturnType: RawRepresentable, BitwiseCopyable, Hashable, Sendable {
  public var rawValue: UInt32
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }
  @inlinable public var base: ReturnType { ReturnType(rawValue: rawValue & TypeFlags.baseMask) }
  @inlinable public var flags: TypeFlags { TypeFlags(rawValue: rawValue & ~TypeFlags.baseMask) }
  @inlinable public var mayBeNull: Bool { has(.mayBeNull) }
  @inlinable public func has(_ flag: TypeFlags) -> Bool { rawValue & flag.rawValue != 0 }
  @inlinable public static func | (a: ReturnType, b: TypeFlags) -> ReturnType {
    ReturnType(rawValue: a.rawValue | b.rawValue)
  }

  @inlinable public static var integer: ReturnType { ReturnType(rawValue: 0) }
  @inlinable public static var void: ReturnType { ReturnType(rawValue: 1) }
  @inlinable public static var mapValue: ReturnType { ReturnType(rawValue: 2) }
  @inlinable public static var socket: ReturnType { ReturnType(rawValue: 3) }
  @inlinable public static var tcpSock: ReturnType { ReturnType(rawValue: 4) }
  @inlinable public static var sockCommon: ReturnType { ReturnType(rawValue: 5) }
  @inlinable public static var memory: ReturnType { ReturnType(rawValue: 6) }
  @inlinable public static var memoryOrBTFID: ReturnType { ReturnType(rawValue: 7) }
  @inlinable public static var btfID: ReturnType { ReturnType(rawValue: 8) }

  @inlinable public static var mapValueOrNull: ReturnType { mapValue | .mayBeNull }
  @inlinable public static var socketOrNull: ReturnType { socket | .mayBeNull }
  @inlinable public static var tcpSockOrNull: ReturnType { tcpSock | .mayBeNull }
  @inlinable public static var sockCommonOrNull: ReturnType { sockCommon | .mayBeNull }
  @inlinable public static var ringbufMemoryOrNull: ReturnType { memory | [.mayBeNull, .ringbuf] }
  @inlinable public static var dynptrMemoryOrNull: ReturnType { memory | .mayBeNull }
  @inlinable public static var btfIDOrNull: ReturnType { btfID | .mayBeNull }
  @inlinable public static var btfIDTrusted: ReturnType { btfID | .trusted }
}

/// The prototype of a helper, as the verifier checks calls against it.
public struct HelperPrototype: BitwiseCopyable, Sendable {
  public var id: HelperID
  public var returns: ReturnType
  /// Five, `.none` where the helper takes fewer.
  public var arguments: InlineArray<5, ArgumentType>
  public var gplOnly = false
  /// May be given packet pointers where it takes memory (`pkt_access`).
  public var packetAccess = false
  public var mightSleep = false
  /// The helper keeps to the fastcall contract: only r0 is clobbered (`allow_fastcall`).
  public var fastcall = false
  /// Kernel struct name of each BTF argument (`arg_btf_id`), by argument; nil where it names none.
  public var argumentTypeNames: InlineArray<5, StaticString?> = .init(repeating: nil)
  /// Byte size of each argument of fixed size (`arg_size`).
  public var argumentSizes: InlineArray<5, UInt32> = .init(repeating: 0)
  /// Kernel struct name of the returned BTF object (`ret_btf_id`).
  public var returnTypeName: StaticString?
  /// Where a program that has the helper may still not call it (`allowed`).
  public var restriction = HelperRestriction.none

  public init(
    _ id: HelperID, returns: ReturnType, _ first: ArgumentType = .none, _ second: ArgumentType = .none,
    _ third: ArgumentType = .none, _ fourth: ArgumentType = .none, _ fifth: ArgumentType = .none
  ) {
    self.id = id
    self.returns = returns
    self.arguments = [first, second, third, fourth, fifth]
  }
}

/// What a program may do with the memory it addresses.
public enum AccessType: Sendable, BitwiseCopyable {
  case read
  case write
}
