import BPFLinux

/// Number of registers in a frame's state: r0 … r10.
let registerCount = 11
/// Bytes in a register and in a stack slot.
let registerSize: Int32 = 8
/// Most frames on a call stack.
let maximumFrames = 8
/// Largest variable offset that a memory access may have.
let maximumVariableOffset: UInt64 = 1 << 29
/// Largest size that a size argument may have.
let maximumVariableSize: UInt64 = 1 << 29

typealias RegisterRef = UnsafeMutablePointer<RegisterState>

/// Which BTF a `btfID` in a register is of: an index into `Verification.btfs`.
typealias BTFIndex = UInt8

/// What the verifier knows of one register or spilled value.
///
/// Plain, fixed-size data (96 bytes): a state is copied with `memcpy`. `payload0` and `payload1` mean different things
/// by type; the accessors below say which. They overlap on purpose the way they do in Linux, because what the log
/// prints and what equality compares depends on it.
struct RegisterState: BitwiseCopyable {
  var type: RegisterType = .notInitialized
  /// Pointers: the fixed part of the offset. Scalars with `addConst` in `id`: the delta to the linked scalar.
  var offset: Int32 = 0
  var payload0: UInt32 = 0
  var payload1: UInt32 = 0
  /// Scalars: what is known of the bits. Pointers: the same of the variable part of the offset.
  var bits = Tnum(value: 0, mask: 0)
  var smin: Int64 = 0
  var smax: Int64 = 0
  var umin: UInt64 = 0
  var umax: UInt64 = 0
  var s32min: Int32 = 0
  var s32max: Int32 = 0
  var u32min: UInt32 = 0
  var u32max: UInt32 = 0
  /// Links values that are known to be equal (scalars), to share an offset (packets) or to be null together.
  var id: UInt32 = 0
  /// The reference that this pointer (or dynptr, iterator) holds; 0 for none.
  var referenceID: UInt32 = 0
  /// One past the instruction that defined the 32-bit part, for zero extension; 0 where none (`DEF_NOT_SUBREG`).
  var subregisterDefinition: Int32 = 0
  /// Stack pointers: which frame's stack.
  var frame: UInt8 = 0
  /// Scalars: some check relied on the exact bounds.
  var precise = false
  /// Types with a BTF id and iterators: which BTF.
  var btf: BTFIndex = 0
  /// Iterator slots: `IteratorState`.
  var iteratorState: UInt8 = 0

  /// Bit of `id` that says: equal to the scalars with that id plus `offset`.
  static let addConst64: UInt32 = 1 << 31
  /// The same, but added in 32 bits: the upper half of the sum is zero.
  static let addConst32: UInt32 = 1 << 30
  /// Either of them.
  static let addConst: UInt32 = addConst64 | addConst32

  // MARK: payload by type

  /// Packet pointers: how many bytes from here are proved to be in the packet. (May be negative: `beyondPacketEnd`.)
  var range: Int32 {
    get { Int32(bitPattern: payload0) }
    set { payload0 = UInt32(bitPattern: newValue) }
  }
  /// Map pointers, keys and values: index into `Verification.maps`.
  ///
  /// Kept as one more, so that a register that ever held a map differs from one that did not: what was a map value
  /// and became a socket keeps its map, and equality sees it.
  var map: Int {
    get { Int(payload0) &- 1 }
    set { payload0 = UInt32(truncatingIfNeeded: newValue &+ 1) }
  }
  /// Tells look-ups of different inner maps apart.
  var mapUID: UInt32 {
    get { payload1 }
    set { payload1 = newValue }
  }
  /// `.btfID` pointers and iterators: the type, in `btf`.
  var btfID: UInt32 {
    get { payload1 }
    set { payload1 = newValue }
  }
  /// `.memory` pointers: bytes in the region.
  var memorySize: UInt32 {
    get { payload0 }
    set { payload0 = newValue }
  }
  /// Slices of dynptrs: the dynptr's id.
  var dynptrID: UInt32 {
    get { payload1 }
    set { payload1 = newValue }
  }
  /// Dynptr slots and `.dynptr` arguments.
  var dynptrType: DynptrType {
    get { DynptrType(rawValue: UInt8(truncatingIfNeeded: payload0)) ?? .invalid }
    set { payload0 = UInt32(newValue.rawValue) }
  }
  /// A dynptr takes two slots; whether this is the first.
  var isFirstDynptrSlot: Bool {
    get { payload1 & 0xff != 0 }
    set { payload1 = newValue ? 1 : 0 }
  }
  /// Iterator slots: how many times `next` went on.
  var iteratorDepth: UInt32 {
    get { payload0 }
    set { payload0 = newValue }
  }
  var iterator: IteratorState {
    get { IteratorState(rawValue: iteratorState) ?? .invalid }
    set { iteratorState = newValue.rawValue }
  }
  /// Saved-interrupt-flag slots: which family of kfuncs made them (0 native, 1 lock).
  var irqClass: UInt32 {
    get { payload0 }
    set { payload0 = newValue }
  }
  /// `.function` pointers: the subprogram.
  var subprogram: Int {
    get { Int(payload0) }
    set { payload0 = UInt32(truncatingIfNeeded: newValue) }
  }

  @inline(__always) var isScalar: Bool { type == .scalar }
  @inline(__always) var isConstant: Bool { bits.mask == 0 }
}

/// Packet ranges below zero: the pointer is known to be past, or at or past, the end of the packet.
enum PacketRange {
  static let beyondEnd: Int32 = -2
  static let atEnd: Int32 = -1
}

enum DynptrType: UInt8, BitwiseCopyable {
  case invalid = 0
  case local
  case ringbuf
  case skb
  case xdp
  case skbMeta
}

enum IteratorState: UInt8, BitwiseCopyable {
  case invalid = 0
  case active
  case drained
}

/// What one byte of stack holds.
enum SlotType {
  static let invalid: UInt8 = 0
  static let spill: UInt8 = 1
  static let misc: UInt8 = 2
  static let zero: UInt8 = 3
  static let dynptr: UInt8 = 4
  static let iterator: UInt8 = 5
  static let irqFlag: UInt8 = 6
}

/// Eight bytes of stack: what each byte holds, and the register spilled there.
struct StackSlot: BitwiseCopyable {
  var spilled = RegisterState()
  /// `SlotType` of each byte: the highest address in byte 0, the lowest in byte 7.
  var types: UInt64 = 0

  /// The type of byte `index`, counted down from the highest address.
  @inline(__always) subscript(index: Int) -> UInt8 {
    get { UInt8(truncatingIfNeeded: types >> UInt64(index &* 8)) }
    set {
      let shift = UInt64(index &* 8)
      types = (types & ~(0xff << shift)) | (UInt64(newValue) << shift)
    }
  }

  /// All eight bytes of one type.
  @inline(__always) static func all(_ type: UInt8) -> UInt64 { UInt64(type) &* 0x0101_0101_0101_0101 }
  /// The type of the byte at the lowest address, which says what the slot is.
  @inline(__always) var kind: UInt8 { UInt8(truncatingIfNeeded: types >> 56) }
}
