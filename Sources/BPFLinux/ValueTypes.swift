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

  public static let notInitialized = RegisterType(rawValue: 0)
  public static let scalar = RegisterType(rawValue: 1)
  public static let context = RegisterType(rawValue: 2)
  public static let mapPointer = RegisterType(rawValue: 3)
  public static let mapValue = RegisterType(rawValue: 4)
  public static let mapKey = RegisterType(rawValue: 5)
  public static let stack = RegisterType(rawValue: 6)
  public static let packetMeta = RegisterType(rawValue: 7)
  public static let packet = RegisterType(rawValue: 8)
  public static let packetEnd = RegisterType(rawValue: 9)
  public static let flowKeys = RegisterType(rawValue: 10)
  public static let socket = RegisterType(rawValue: 11)
  public static let sockCommon = RegisterType(rawValue: 12)
  public static let tcpSock = RegisterType(rawValue: 13)
  public static let tracepointBuffer = RegisterType(rawValue: 14)
  public static let xdpSock = RegisterType(rawValue: 15)
  /// A kernel (or program-allocated) object whose type BTF knows.
  public static let btfID = RegisterType(rawValue: 16)
  public static let memory = RegisterType(rawValue: 17)
  public static let arena = RegisterType(rawValue: 18)
  public static let buffer = RegisterType(rawValue: 19)
  public static let function = RegisterType(rawValue: 20)
  public static let dynptr = RegisterType(rawValue: 21)
  /// One past the highest base type.
  public static let baseEnd: UInt32 = 22
}

/// Modifiers of register, argument and return types.
public struct TypeFlags: OptionSet, BitwiseCopyable, Hashable, Sendable {
  public let rawValue: UInt32
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }
  @inlinable public static var baseMask: UInt32 { 0xff }

  public static let mayBeNull = TypeFlags(rawValue: 1 << 8)
  public static let readOnly = TypeFlags(rawValue: 1 << 9)
  public static let ringbuf = TypeFlags(rawValue: 1 << 10)
  public static let user = TypeFlags(rawValue: 1 << 11)
  public static let percpu = TypeFlags(rawValue: 1 << 12)
  /// The argument is released by the call.
  public static let release = TypeFlags(rawValue: 1 << 13)
  public static let untrusted = TypeFlags(rawValue: 1 << 14)
  /// Memory may be uninitialised.
  public static let uninitialized = TypeFlags(rawValue: 1 << 15)
  public static let dynptrLocal = TypeFlags(rawValue: 1 << 16)
  public static let dynptrRingbuf = TypeFlags(rawValue: 1 << 17)
  public static let fixedSize = TypeFlags(rawValue: 1 << 18)
  /// Allocated by the program, of a type in the program's BTF.
  public static let allocated = TypeFlags(rawValue: 1 << 19)
  public static let trusted = TypeFlags(rawValue: 1 << 20)
  public static let rcu = TypeFlags(rawValue: 1 << 21)
  public static let nonOwning = TypeFlags(rawValue: 1 << 22)
  public static let dynptrSKB = TypeFlags(rawValue: 1 << 23)
  public static let dynptrXDP = TypeFlags(rawValue: 1 << 24)
  public static let aligned = TypeFlags(rawValue: 1 << 25)
  public static let write = TypeFlags(rawValue: 1 << 26)
  public static let dynptrSKBMeta = TypeFlags(rawValue: 1 << 27)
  public static let dynptrAny: TypeFlags = [.dynptrLocal, .dynptrRingbuf, .dynptrSKB, .dynptrXDP, .dynptrSKBMeta]
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

  public static let none = ArgumentType(rawValue: 0)
  public static let constMapPointer = ArgumentType(rawValue: 1)
  public static let mapKey = ArgumentType(rawValue: 2)
  public static let mapValue = ArgumentType(rawValue: 3)
  public static let memory = ArgumentType(rawValue: 4)
  public static let arena = ArgumentType(rawValue: 5)
  public static let constSize = ArgumentType(rawValue: 6)
  public static let constSizeOrZero = ArgumentType(rawValue: 7)
  public static let context = ArgumentType(rawValue: 8)
  public static let anything = ArgumentType(rawValue: 9)
  public static let spinLock = ArgumentType(rawValue: 10)
  public static let sockCommon = ArgumentType(rawValue: 11)
  public static let socket = ArgumentType(rawValue: 12)
  public static let btfID = ArgumentType(rawValue: 13)
  public static let ringbufMemory = ArgumentType(rawValue: 14)
  public static let constAllocSizeOrZero = ArgumentType(rawValue: 15)
  public static let btfIDSockCommon = ArgumentType(rawValue: 16)
  public static let percpuBTFID = ArgumentType(rawValue: 17)
  public static let function = ArgumentType(rawValue: 18)
  public static let stack = ArgumentType(rawValue: 19)
  public static let constString = ArgumentType(rawValue: 20)
  public static let timer = ArgumentType(rawValue: 21)
  public static let kptrExchangeDestination = ArgumentType(rawValue: 22)
  public static let dynptr = ArgumentType(rawValue: 23)

  public static let mapValueOrNull = mapValue | .mayBeNull
  public static let memoryOrNull = memory | .mayBeNull
  public static let contextOrNull = context | .mayBeNull
  public static let socketOrNull = socket | .mayBeNull
  public static let stackOrNull = stack | .mayBeNull
  public static let btfIDOrNull = btfID | .mayBeNull
  public static let uninitializedMemory = memory | [.uninitialized, .write]
  public static let fixedSizeMemory = memory | .fixedSize
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

  public static let integer = ReturnType(rawValue: 0)
  public static let void = ReturnType(rawValue: 1)
  public static let mapValue = ReturnType(rawValue: 2)
  public static let socket = ReturnType(rawValue: 3)
  public static let tcpSock = ReturnType(rawValue: 4)
  public static let sockCommon = ReturnType(rawValue: 5)
  public static let memory = ReturnType(rawValue: 6)
  public static let memoryOrBTFID = ReturnType(rawValue: 7)
  public static let btfID = ReturnType(rawValue: 8)

  public static let mapValueOrNull = mapValue | .mayBeNull
  public static let socketOrNull = socket | .mayBeNull
  public static let tcpSockOrNull = tcpSock | .mayBeNull
  public static let sockCommonOrNull = sockCommon | .mayBeNull
  public static let ringbufMemoryOrNull = memory | [.mayBeNull, .ringbuf]
  public static let dynptrMemoryOrNull = memory | .mayBeNull
  public static let btfIDOrNull = btfID | .mayBeNull
  public static let btfIDTrusted = btfID | .trusted
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
