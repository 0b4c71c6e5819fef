import BPFISA
import BPFLinux

/// Longest message of the kernel's log; the rest of a longer one is cut off.
private let maximumMessage = 1023

/// Instructions, source lines and the summary in the log.
extension Verification {
  /// Prints one instruction and a newline, without its index.
  func printInstruction(_ index: Int) {
    guard logLevel != 0 else { return }
    let disassembler = Disassembler(
      allowPointerLeaks: allowPointerLeaks,
      helperName: { HelperID(rawValue: $0).name },
      callName: { [unowned self] in $0.isKfuncCall ? self.kfuncName(for: $0) : nil })
    disassembler.append(
      instructions[index], next: index + 1 < instructionCount ? instructions[index + 1] : nil, to: &log.bytes)
    log.settleIfLong()
  }

  /// Prints the source line that the instruction came from, unless it was the last one printed.
  func printLineInfo(_ instruction: Int, prefix: @autoclosure () -> String) {
    guard logLevel != 0, let record = lineInfo(of: instruction), record != previousLine else { return }
    let info = program.lineInfo[record]
    if previousLine >= 0 {
      // Records of one line that differ by column alone are not told apart.
      let previous = program.lineInfo[previousLine]
      if previous.fileNameOffset == info.fileNameOffset && previous.line == info.line { return }
    }
    guard let types = program.btf else { return }
    log.put(prefix())
    log.append(types.string(info.lineOffset).utf8.drop(while: isSpace).prefix(maximumMessage))
    let file = types.string(info.fileNameOffset).utf8
    log.put(" @ ")
    log.append(file.lastIndex(of: UInt8(ascii: "/")).map { file[file.index(after: $0)...] } ?? file[...])
    log.put(byte: UInt8(ascii: ":"))
    log.put(decimal: UInt64(info.line))
    log.put(byte: UInt8(ascii: "\n"))
    previousLine = record
  }

  /// The last line record at or before the instruction.
  private func lineInfo(of instruction: Int) -> Int? {
    guard !program.lineInfo.isEmpty, instruction < instructionCount else { return nil }
    return program.lineInfo.withUnsafeBufferPointer { records in
      var low = 0
      var high = records.count - 1
      while low < high {
        let middle = low + (high - low + 1) / 2
        if Int(records[middle].instructionOffset) <= instruction { low = middle } else { high = middle - 1 }
      }
      return low
    }
  }

  /// The lines that end every log.
  func printStatistics(microseconds: Int) {
    if logLevel & 4 != 0 {
      let time = "\(microseconds)"
      print("verification time \(time) usec\n")
      // A log that outgrows its buffer is of a run that takes Linux seconds: seven digits. Where it is cut must not
      // tell how much faster this one was.
      log.leaveRoom(for: 7 - time.utf8.count)
      print("stack depth \(subprograms.map { String($0.stackDepth) }.joined(separator: "+"))\n")
    }
    print(
      "processed \(processed) insns (limit \(maximumProcessedInstructions)) "
        + "max_states_per_insn \(maximumStatesPerInstruction) total_states \(totalStates) "
        + "peak_states \(peakStates) mark_read 0\n")
  }
}

/// White space as the kernel counts it.
private func isSpace(_ byte: UInt8) -> Bool {
  byte == 0x20 || (byte >= 9 && byte <= 13) || byte == 0xa0
}
