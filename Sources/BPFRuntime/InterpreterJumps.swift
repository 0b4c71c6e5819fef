import CBPFRuntime

extension InterpreterHandlers {
  /// Jumps within a function.
  static func jump(_ operation: InterpreterOperation) -> skep_step_handler? {
    switch operation {
    case .jump:
      { pc, r, run in
        return next(pc.target, r, run)
      }
    case .jumpEqualK:
      { pc, r, run in
        return r[pc.a] == pc.immediate ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpEqualX:
      { pc, r, run in
        return r[pc.a] == r[pc.b] ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpNotEqualK:
      { pc, r, run in
        return r[pc.a] != pc.immediate ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpNotEqualX:
      { pc, r, run in
        return r[pc.a] != r[pc.b] ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpAboveK:
      { pc, r, run in
        return r[pc.a] > pc.immediate ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpAboveX:
      { pc, r, run in
        return r[pc.a] > r[pc.b] ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpAboveOrEqualK:
      { pc, r, run in
        return r[pc.a] >= pc.immediate ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpAboveOrEqualX:
      { pc, r, run in
        return r[pc.a] >= r[pc.b] ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpBelowK:
      { pc, r, run in
        return r[pc.a] < pc.immediate ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpBelowX:
      { pc, r, run in
        return r[pc.a] < r[pc.b] ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpBelowOrEqualK:
      { pc, r, run in
        return r[pc.a] <= pc.immediate ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpBelowOrEqualX:
      { pc, r, run in
        return r[pc.a] <= r[pc.b] ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpGreaterK:
      { pc, r, run in
        return asSigned(r[pc.a]) > asSigned(pc.immediate) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpGreaterX:
      { pc, r, run in
        return asSigned(r[pc.a]) > asSigned(r[pc.b]) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpGreaterOrEqualK:
      { pc, r, run in
        return asSigned(r[pc.a]) >= asSigned(pc.immediate) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpGreaterOrEqualX:
      { pc, r, run in
        return asSigned(r[pc.a]) >= asSigned(r[pc.b]) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpLessK:
      { pc, r, run in
        return asSigned(r[pc.a]) < asSigned(pc.immediate) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpLessX:
      { pc, r, run in
        return asSigned(r[pc.a]) < asSigned(r[pc.b]) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpLessOrEqualK:
      { pc, r, run in
        return asSigned(r[pc.a]) <= asSigned(pc.immediate) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpLessOrEqualX:
      { pc, r, run in
        return asSigned(r[pc.a]) <= asSigned(r[pc.b]) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpSetK:
      { pc, r, run in
        return r[pc.a] & pc.immediate != 0 ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpSetX:
      { pc, r, run in
        return r[pc.a] & r[pc.b] != 0 ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpEqual32K:
      { pc, r, run in
        return lowHalf(r[pc.a]) == lowHalf(pc.immediate) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpEqual32X:
      { pc, r, run in
        return lowHalf(r[pc.a]) == lowHalf(r[pc.b]) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpNotEqual32K:
      { pc, r, run in
        return lowHalf(r[pc.a]) != lowHalf(pc.immediate) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpNotEqual32X:
      { pc, r, run in
        return lowHalf(r[pc.a]) != lowHalf(r[pc.b]) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpAbove32K:
      { pc, r, run in
        return lowHalf(r[pc.a]) > lowHalf(pc.immediate) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpAbove32X:
      { pc, r, run in
        return lowHalf(r[pc.a]) > lowHalf(r[pc.b]) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpAboveOrEqual32K:
      { pc, r, run in
        return lowHalf(r[pc.a]) >= lowHalf(pc.immediate) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpAboveOrEqual32X:
      { pc, r, run in
        return lowHalf(r[pc.a]) >= lowHalf(r[pc.b]) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpBelow32K:
      { pc, r, run in
        return lowHalf(r[pc.a]) < lowHalf(pc.immediate) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpBelow32X:
      { pc, r, run in
        return lowHalf(r[pc.a]) < lowHalf(r[pc.b]) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpBelowOrEqual32K:
      { pc, r, run in
        return lowHalf(r[pc.a]) <= lowHalf(pc.immediate) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpBelowOrEqual32X:
      { pc, r, run in
        return lowHalf(r[pc.a]) <= lowHalf(r[pc.b]) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpGreater32K:
      { pc, r, run in
        let holds = asSigned(lowHalf(r[pc.a])) > asSigned(lowHalf(pc.immediate))
        return holds ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpGreater32X:
      { pc, r, run in
        return asSigned(lowHalf(r[pc.a])) > asSigned(lowHalf(r[pc.b])) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpGreaterOrEqual32K:
      { pc, r, run in
        let holds = asSigned(lowHalf(r[pc.a])) >= asSigned(lowHalf(pc.immediate))
        return holds ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpGreaterOrEqual32X:
      { pc, r, run in
        return asSigned(lowHalf(r[pc.a])) >= asSigned(lowHalf(r[pc.b])) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpLess32K:
      { pc, r, run in
        let holds = asSigned(lowHalf(r[pc.a])) < asSigned(lowHalf(pc.immediate))
        return holds ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpLess32X:
      { pc, r, run in
        return asSigned(lowHalf(r[pc.a])) < asSigned(lowHalf(r[pc.b])) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpLessOrEqual32K:
      { pc, r, run in
        let holds = asSigned(lowHalf(r[pc.a])) <= asSigned(lowHalf(pc.immediate))
        return holds ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpLessOrEqual32X:
      { pc, r, run in
        return asSigned(lowHalf(r[pc.a])) <= asSigned(lowHalf(r[pc.b])) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpSet32K:
      { pc, r, run in
        return lowHalf(r[pc.a]) & lowHalf(pc.immediate) != 0 ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .jumpSet32X:
      { pc, r, run in
        return lowHalf(r[pc.a]) & lowHalf(r[pc.b]) != 0 ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    default: nil
    }
  }
}
