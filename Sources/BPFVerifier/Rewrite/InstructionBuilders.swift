import BPFISA
import BPFLinux

/// The register that only the kernel's own code uses (`BPF_REG_AX`).
let auxiliaryRegister = 11

/// Loads and stores that may fault (`BPF_PROBE_…`): modes that only verified programs have.
enum ProbeMode {
  static let memory: UInt8 = 0x20
  static let signExtended: UInt8 = 0x40
  static let arena: UInt8 = 0xa0
  static let arenaSignExtended: UInt8 = 0xc0
  static let arenaAtomic: UInt8 = 0xe0
}

extension Instruction {
  private init(_ opcode: UInt8, _ dst: Int, _ src: Int, _ offset: Int, _ immediate: Int32 = 0) {
    self.init(
      opcode: opcode, dst: UInt8(truncatingIfNeeded: dst), src: UInt8(truncatingIfNeeded: src),
      offset: Int16(truncatingIfNeeded: offset), immediate: immediate)
  }

  static func load(_ size: UInt8, _ dst: Int, _ src: Int, _ offset: Int) -> Instruction {
    Instruction(Class.ldx | Mode.mem | size, dst, src, offset)
  }

  static func store(_ size: UInt8, _ dst: Int, _ offset: Int, register src: Int) -> Instruction {
    Instruction(Class.stx | Mode.mem | size, dst, src, offset)
  }

  static func store(_ size: UInt8, _ dst: Int, _ offset: Int, immediate: Int32) -> Instruction {
    Instruction(Class.st | Mode.mem | size, dst, 0, offset, immediate)
  }

  static func exchange(_ dst: Int, _ src: Int) -> Instruction {
    Instruction(Class.stx | Mode.atomic | Size.dw, dst, src, 0, Atomic.xchg)
  }

  static func alu64(_ operation: UInt8, _ dst: Int, register src: Int) -> Instruction {
    Instruction(Class.alu64 | operation | Source.x, dst, src, 0)
  }

  static func alu64(_ operation: UInt8, _ dst: Int, _ immediate: Int32) -> Instruction {
    Instruction(Class.alu64 | operation | Source.k, dst, 0, 0, immediate)
  }

  static func alu32(_ operation: UInt8, _ dst: Int, register src: Int) -> Instruction {
    Instruction(Class.alu | operation | Source.x, dst, src, 0)
  }

  static func alu32(_ operation: UInt8, _ dst: Int, _ immediate: Int32) -> Instruction {
    Instruction(Class.alu | operation | Source.k, dst, 0, 0, immediate)
  }

  /// Arithmetic at the width of `instructionClass`.
  static func alu(_ instructionClass: UInt8, _ operation: UInt8, _ dst: Int, _ immediate: Int32) -> Instruction {
    Instruction(instructionClass | operation | Source.k, dst, 0, 0, immediate)
  }

  /// The address of a per-CPU variable.
  static func percpuAddress(_ dst: Int, _ src: Int) -> Instruction {
    Instruction(Opcode.movRegister64, dst, src, Int(perCPUAddressOffset))
  }

  static func jump(_ operation: UInt8, _ dst: Int, _ immediate: Int32, to offset: Int) -> Instruction {
    Instruction(Class.jmp | operation | Source.k, dst, 0, offset, immediate)
  }

  static func jump(_ operation: UInt8, _ dst: Int, register src: Int, to offset: Int) -> Instruction {
    Instruction(Class.jmp | operation | Source.x, dst, src, offset)
  }

  static func jump32(_ operation: UInt8, _ dst: Int, _ immediate: Int32, to offset: Int) -> Instruction {
    Instruction(Class.jmp32 | operation | Source.k, dst, 0, offset, immediate)
  }

  static func jump32(_ operation: UInt8, _ dst: Int, register src: Int, to offset: Int) -> Instruction {
    Instruction(Class.jmp32 | operation | Source.x, dst, src, offset)
  }

  static func jump(to offset: Int) -> Instruction { Instruction(Opcode.ja, 0, 0, offset) }

  static func call(_ helper: HelperID) -> Instruction { Instruction(Opcode.call, 0, 0, 0, helper.rawValue) }
  /// A call of which a reference says what it calls.
  static var callAddress: Instruction { Instruction(Opcode.call, 0, 0, 0) }
  static func callSubprogram(_ offset: Int) -> Instruction {
    Instruction(Opcode.call, 0, Int(PseudoSource.call), 0, Int32(truncatingIfNeeded: offset))
  }
  static func callKfunc(_ id: UInt32) -> Instruction {
    Instruction(Opcode.call, 0, Int(PseudoSource.kfuncCall), 0, Int32(bitPattern: id))
  }
  static var exit: Instruction { Instruction(Opcode.exit, 0, 0, 0) }
  static var speculationBarrier: Instruction { Instruction(Opcode.nospec, 0, 0, 0) }
  /// The first slot of a load of an address; the second is `secondSlot`.
  static func loadAddress(_ dst: Int) -> Instruction { Instruction(Opcode.loadImmediate64, dst, 0, 0) }
  static var secondSlot: Instruction { Instruction(0, 0, 0, 0) }

  /// The store `self` of the same value, at another width and place.
  func storing(_ size: UInt8, at offset: Int, base: Int? = nil) -> Instruction {
    Instruction(instructionClass | size | Mode.mem, base ?? dst, src, offset, immediate)
  }
}

extension Size {
  /// The code of a width in bytes.
  static func of(_ bytes: Int) -> UInt8 {
    switch bytes {
    case 1: b
    case 2: h
    case 4: w
    default: dw
    }
  }
}
