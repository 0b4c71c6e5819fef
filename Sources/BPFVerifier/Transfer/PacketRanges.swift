import BPFISA
import BPFLinux

/// Largest offset into a packet.
let maximumPacketOffset: UInt64 = 0xffff

/// What a comparison with the end of the packet proves.
extension Verification {
  /// Packet pointers that share `r`'s variable offset: as many bytes as `r` is ahead are proved to be there.
  private func extendRange(_ state: StateRef, _ r: RegisterRef, _ type: RegisterType, open: Bool) {
    let offset = r.pointee.offset
    if offset < 0 || (offset == 0 && open) { return }
    if r.pointee.umax > maximumPacketOffset || r.pointee.umax &+ UInt64(offset) > maximumPacketOffset { return }
    let range = open ? offset &+ 1 : offset
    let id = r.pointee.id
    state.forEachRegister { _, other in
      if other.pointee.type == type && other.pointee.id == id && other.pointee.range < range {
        other.pointee.range = range
      }
    }
  }

  /// `number` is at or past the end of the packet.
  private func markBeyond(_ state: StateRef, _ number: Int, open: Bool) {
    let r = state.current.register(number)
    guard r.pointee.type == .packet else { return }
    r.pointee.range = open ? PacketRange.beyondEnd : PacketRange.atEnd
  }

  private func isPacketStart(_ r: RegisterRef) -> Bool {
    r.pointee.type == .packet && r.pointee.id == 0 && r.pointee.offset == 0 && r.pointee.bits.mask == 0
      && r.pointee.bits.value == 0
  }

  /// Whether the comparison is one of a packet pointer with the end (or of metadata with the start) of the packet.
  func matchPacketPointers(
    _ insn: Instruction, _ dst: RegisterRef, _ src: RegisterRef, fallThrough: StateRef, taken: StateRef
  ) -> Bool {
    guard insn.operandSource == Source.x, insn.instructionClass == Class.jmp else { return false }
    let dstIsPacket =
      (dst.pointee.type == .packet && src.pointee.type == .packetEnd)
      || (dst.pointee.type == .packetMeta && isPacketStart(src))
    let srcIsPacket =
      (dst.pointee.type == .packetEnd && src.pointee.type == .packet)
      || (isPacketStart(dst) && src.pointee.type == .packetMeta)
    guard dstIsPacket || srcIsPacket else { return false }
    // In which of the two states the packet pointer is inside, and whether it is strictly.
    let inside: StateRef
    let outside: StateRef
    let strictlyInside: Bool
    switch (insn.operation, dstIsPacket) {
    case (Jump.jgt, true), (Jump.jlt, false): (inside, outside, strictlyInside) = (fallThrough, taken, false)
    case (Jump.jgt, false), (Jump.jlt, true): (inside, outside, strictlyInside) = (taken, fallThrough, true)
    case (Jump.jge, true), (Jump.jle, false): (inside, outside, strictlyInside) = (fallThrough, taken, true)
    case (Jump.jge, false), (Jump.jle, true): (inside, outside, strictlyInside) = (taken, fallThrough, false)
    default: return false
    }
    let packet = dstIsPacket ? dst : src
    extendRange(inside, packet, packet.pointee.type, open: strictlyInside)
    markBeyond(outside, dstIsPacket ? insn.dst : insn.src, open: !strictlyInside)
    return true
  }
}
