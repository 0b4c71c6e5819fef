import BPFISA
import BTF

/// What the generator takes a register or a stack slot to hold. The verifier may know better: programs are meant to
/// get far, and some are meant to be wrong.
enum Belief: Equatable {
  case nothing
  /// From 0 to `limit`; anything where that is nil.
  case scalar(limit: Int?)
  case context
  /// Bytes above the bottom of what is reachable, and how many of them there are from here on.
  case stack(offset: Int)
  /// A packet, of which that many bytes were found to be there.
  case packet(length: Int)
  case packetEnd
  case mapPointer(Int)
  case memory(size: Int, writable: Bool)
  case memoryOrNull(size: Int, writable: Bool)
  /// A struct of the kernel, of that type.
  case kernel(TypeID)
  /// Something that only helpers take.
  case object

  var isScalar: Bool {
    if case .scalar = self { true } else { false }
  }

  /// Loads and stores may go there, that far.
  var reach: Int? {
    switch self {
    case .packet(let length) where length > 0: length
    case .memory(let size, _): size
    default: nil
    }
  }

  /// What holds after either of two paths.
  func joined(_ other: Belief) -> Belief {
    if self == other { return self }
    switch (self, other) {
    case (.scalar(let a?), .scalar(let b?)): return .scalar(limit: max(a, b))
    case (.scalar, .scalar): return .scalar(limit: nil)
    case (.packet(let a), .packet(let b)): return .packet(length: min(a, b))
    default: return .nothing
    }
  }
}

/// What is believed of one frame: registers 0 to 9, and 8-byte slots downwards from the frame pointer.
struct FrameBelief {
  var registers = [Belief](repeating: .nothing, count: 10)
  var slots = [Belief](repeating: .nothing, count: 16)
  /// Registers and slots that statements around this one need as they are.
  var heldRegisters: Set<Register> = []
  var heldSlots: Set<Int> = []

  mutating func join(_ other: FrameBelief) {
    for index in registers.indices { registers[index] = registers[index].joined(other.registers[index]) }
    for index in slots.indices { slots[index] = slots[index].joined(other.slots[index]) }
  }

  mutating func forgetCallerSaved() {
    for index in 1...5 { registers[index] = .nothing }
  }
}

/// Numbers at which arithmetic turns.
enum InterestingNumber {
  static let immediates: [Int32] = [
    0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 511, 512, 1023, 1024, 4095, 4096,
    0x7fff, 0x8000, 0xffff, 0x10000, 0x7f_ffff, 0x3fff_ffff, 0x4000_0000, 0x7fff_fffe, .max, .min, .min + 1, -1, -2,
    -3, -4, -8, -16, -31, -32, -64, -128, -255, -256, -512, -4096, -32768, -65535, -65536, -0x4000_0000, 0x55555555,
    -0x55555556, 0xff00, 0x0f0f_0f0f,
  ]

  static let longs: [Int64] = [
    0xffff_ffff, 0x1_0000_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, .max, .min, .min + 1, .max - 1, -1, 0xffff,
    0x7fff_ffff_0000_0000, -0x1_0000_0000, 0x1_0000_0001, 0x5555_5555_5555_5555, 0x1234_5678_9abc_def0, 1 << 29,
    (1 << 29) - 1, 1 << 48,
  ]

  static let masks: [Int32] = [1, 3, 7, 8, 15, 16, 31, 32, 63, 0x38, 0x7c, 127, 255, 0xff0, 0x7ff]
}
