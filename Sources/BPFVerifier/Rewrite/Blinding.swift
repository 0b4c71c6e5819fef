import BPFISA
import BPFLinux

// Constants of the program are taken apart, so that nobody can place machine code by choosing them.

extension Rewriter {
  func blindConstants() throws(Refusal) {
    var index = 0
    var wide = Instruction.loadAddress(0)
    while index < slots.count {
      let insn = slots[index].instruction
      if insn.isSubprogramAddress {
        index += 2
        continue
      }
      let isSecond = insn.opcode == 0 && index > 0
      if insn.isLoadImmediate64 { wide = insn }
      let second = insn.isLoadImmediate64 && index + 1 < slots.count ? slots[index + 1].instruction : insn
      let code = blinded(insn, second: second, wide: wide, isSecond: isSecond)
      if !code.isEmpty {
        slots[index].reference = -1
        index += try replace(index, code)
      }
      index += 1
    }
  }

  private func blinded(
    _ insn: Instruction, second: Instruction, wide: Instruction, isSecond: Bool
  ) -> [Instruction] {
    let mask = Int32(bitPattern: options.mask)
    func mix(_ width: UInt8, _ value: Int32) -> [Instruction] {
      [.alu(width, ALU.mov, auxiliaryRegister, mask ^ value), .alu(width, ALU.xor, auxiliaryRegister, mask)]
    }
    if insn.isLoadImmediate64 {
      return mix(Class.alu64, second.immediate)
        + [.alu64(ALU.lsh, auxiliaryRegister, 32), .alu64(ALU.mov, insn.dst, register: auxiliaryRegister)]
    }
    if isSecond {
      return mix(Class.alu, wide.immediate) + [.alu64(ALU.or, wide.dst, register: auxiliaryRegister)]
    }
    if insn.dst == auxiliaryRegister || insn.src == auxiliaryRegister { return [] }
    var last = insn
    last.immediate = 0
    last.src = auxiliaryRegister
    switch insn.instructionClass {
    case Class.alu, Class.alu64:
      guard insn.operandSource == Source.k else { return [] }
      if insn.operation == ALU.mov && insn.immediate == 0 { return [.alu64(ALU.xor, insn.dst, register: insn.dst)] }
      switch insn.operation {
      case ALU.add, ALU.sub, ALU.and, ALU.or, ALU.xor, ALU.mul, ALU.mov, ALU.div, ALU.mod: break
      default: return []
      }
      last.opcode |= Source.x
      return mix(insn.instructionClass, insn.immediate) + [last]
    case Class.jmp, Class.jmp32:
      guard insn.operandSource == Source.k else { return [] }
      switch insn.operation {
      case Jump.ja, Jump.call, Jump.exit, Jump.jcond: return []
      default: break
      }
      if insn.offset < 0 { last.offset -= 2 }
      last.opcode |= Source.x
      return mix(insn.instructionClass == Class.jmp ? Class.alu64 : Class.alu, insn.immediate) + [last]
    case Class.st where insn.mode == Mode.mem || insn.mode == ProbeMode.arena:
      last.opcode = Class.stx | insn.mode | insn.sizeCode
      return mix(Class.alu64, insn.immediate) + [last]
    default:
      return []
    }
  }
}
